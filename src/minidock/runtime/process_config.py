"""The process part of a config: who the command is, what it may do, and where it starts.

The same steps end the container's init and each process that exec adds, so that the two cannot come
to differ. Order is everything here: groups before the user, since a user cannot change groups;
seccomp before the capabilities go, unless no_new_privs allows it after; the command is looked up
as its user, in its working directory, after all walls are up.

Sources: OCI runtime-spec config "Process", config-linux "Linux Process"; capabilities(7);
execvp(3) for the search in PATH.
"""

from __future__ import annotations

import os
import stat

from minidock.errors import CommandNotFound, CommandNotRunnable
from minidock.kernel import capability, process
from minidock.kernel.path import enter_directory, set_umask
from minidock.runtime.program import Slot, Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from minidock.runtime.channel import Channel

_PASSWD_BYTES = 1 << 20
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def terminal_steps(spec: dict[str, Any], channel: Channel) -> list[Step]:
    """Make the terminal inside, and hand its master out through the channel.

    Without one, the command keeps the streams that it was given, none of them the host's /dev/null.
    """
    if not spec.get("terminal"):
        return [Step(process.reopen_null)]
    from minidock.kernel import terminal

    size = spec.get("consoleSize") or {}
    sizing = []
    if size.get("height") and size.get("width"):
        sizing = [
            Step(terminal.set_size, Slot("console"), rows=size["height"], columns=size["width"])
        ]
    return [
        Step(terminal.open_terminal, into="console"),
        *sizing,
        Step(channel.send_console, Slot("console")),
        Step(terminal.take_terminal, Slot("console")),
    ]


def credential_steps(spec: dict[str, Any], filter_program: bytes | None) -> list[Step]:
    """Limits, system call filter, user and capabilities.

    spec: OCI's "process". filter_program: the compiled seccomp filter, or None.
    """
    user = spec.get("user") or {}
    capabilities = spec.get("capabilities")
    no_new_privs = bool(spec.get("noNewPrivileges"))
    steps = [
        Step(process.set_rlimit, limit["type"], soft=limit["soft"], hard=limit["hard"])
        for limit in spec.get("rlimits") or []
    ]
    if spec.get("oomScoreAdj") is not None:
        steps.append(Step(process.write_proc, "/proc/self/oom_score_adj", str(spec["oomScoreAdj"])))
    if filter_program is not None and not no_new_privs:
        steps.append(_filter_step(filter_program))
    if capabilities is not None:
        steps.append(Step(capability.set_bounding, capabilities.get("bounding") or []))
        steps.append(Step(capability.keep_capabilities))
    profile = spec.get("apparmorProfile")
    if profile:
        steps.append(Step(process.write_proc, apparmor_file(), f"exec {profile}"))
    if user.get("uid"):
        steps.append(Step(process.give_stdio, user["uid"]))
    steps += [
        Step(process.set_groups, user.get("additionalGids") or []),
        Step(process.set_user, user.get("uid") or 0, user.get("gid") or 0),
        Step(set_umask, 0o022 if user.get("umask") is None else user["umask"]),
    ]
    if capabilities is not None:
        steps.append(
            Step(
                capability.set_capabilities,
                effective=capabilities.get("effective") or [],
                permitted=capabilities.get("permitted") or [],
                inheritable=capabilities.get("inheritable") or [],
            )
        )
        steps.append(Step(capability.set_ambient, possible_ambient(capabilities)))
    if no_new_privs:
        steps.append(Step(capability.set_no_new_privs))
    return steps


def _filter_step(filter_program: bytes) -> Step:
    """The system call filter, from which there is no way back."""
    from minidock.kernel import seccomp  # loaded already by who compiled the filter

    return Step(seccomp.load, filter_program)


def possible_ambient(capabilities: dict[str, Any]) -> list[str]:
    """The ambient set without what the kernel refuses: it must be inheritable and permitted too.

    `runc spec` writes such a config; a capability that cannot be granted is no error in OCI.
    """
    possible = set(capabilities.get("inheritable") or []) & set(capabilities.get("permitted") or [])
    return [name for name in capabilities.get("ambient") or [] if name in possible]


def apparmor_file() -> str:
    """The file that names the AppArmor profile of the next execve; "" where AppArmor is not on."""
    try:
        with open("/sys/module/apparmor/parameters/enabled", "rb", buffering=0) as file:
            if not file.read().startswith(b"Y"):
                return ""
    except FileNotFoundError:
        return ""
    own = "/proc/self/attr/apparmor/exec"  # Linux 5.8; before, whichever LSM was first
    return own if os.path.exists(own) else "/proc/self/attr/exec"


def command_steps(spec: dict[str, Any]) -> list[Step]:
    """Go to the working directory and find the command there."""
    environment = spec.get("env") or []
    uid = (spec.get("user") or {}).get("uid") or 0
    return [
        Step(process.close_on_exec, 3),
        Step(enter_directory, spec["cwd"]),
        Step(find_command, spec["args"][0], environment, into="command"),
        Step(complete_environment, environment, uid, into="environment"),
    ]


def final_steps(
    spec: dict[str, Any], filter_program: bytes | None, *, preserved_fds: int = 0
) -> list[Step]:
    """The last acts: nothing of ours is left after them.

    preserved_fds: how many descriptors from 3 on the command gets.
    """
    steps = []
    if preserved_fds:
        steps.append(Step(process.hand_on, 3, 2 + preserved_fds))
    if filter_program is not None and spec.get("noNewPrivileges"):
        steps.append(_filter_step(filter_program))
    return [
        *steps,
        Step(process.restore_signals),
        Step(process.execute, Slot("command"), spec["args"], Slot("environment")),
    ]


def complete_environment(environment: list[str], uid: int) -> list[str]:
    """The environment with HOME, which programs rely on, from the container's own /etc/passwd."""
    if any(entry.startswith("HOME=") and entry != "HOME=" for entry in environment):
        return environment
    kept = [entry for entry in environment if entry != "HOME="]
    return [*kept, f"HOME={home_of(uid, '/etc/passwd')}"]


def home_of(uid: int, path: str) -> str:
    """A user's home directory as a passwd(5) file has it; "/" where it is not listed.

    The file is the image's: one that is no file, or has no end, must not stop us.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return "/"
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return "/"
        content = os.read(descriptor, _PASSWD_BYTES).decode("utf-8", "surrogateescape")
    finally:
        os.close(descriptor)
    for line in content.split("\n"):
        fields = line.split(":")
        if len(fields) >= 6 and fields[2] == str(uid):
            return fields[5] or "/"
    return "/"


def find_command(name: str, environment: list[str]) -> str:
    """The path of a command, as execvp(3) finds it in the container's PATH.

    Raises CommandNotFound (exit code 127), CommandNotRunnable (126).
    """
    return choose_command(name, environment, _look)


def _look(path: str) -> str:
    """What a path is to execve(2): "program", "directory", "refused", or "" for nothing."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return ""
    if stat.S_ISDIR(mode):
        return "directory"
    return "program" if os.access(path, os.X_OK, effective_ids=True) else "refused"


def choose_command(name: str, environment: list[str], look: Callable[[str], str]) -> str:
    """The first place of a command that `look` says is a program; PATH counts, as in execvp(3).

    Raises CommandNotFound (exit code 127), CommandNotRunnable (126).
    """
    search = DEFAULT_PATH
    for entry in environment:
        if entry.startswith("PATH="):
            search = entry[5:]
    if "/" in name:
        candidates = [name]
    else:
        candidates = [f"{folder or '.'}/{name}" for folder in search.split(":") if name]
    reasons = {"directory": "is a directory", "refused": "permission denied"}
    refused = ""
    for path in candidates:
        found = look(path)
        if found == "program":
            return path
        if found:
            refused = refused or f'exec: "{name}": {reasons[found]}'
    if refused:
        raise CommandNotRunnable(refused, hint="the file must be a program that its user may run")
    if "/" in name:
        raise CommandNotFound(
            f'exec: "{name}": no such file or directory',
            hint="the path is looked up inside the container",
        )
    raise CommandNotFound(
        f'exec: "{name}": executable file not found in $PATH',
        hint=f"looked in {search} of the container",
    )
