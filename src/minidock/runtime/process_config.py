"""The steps for OCI's "process": user, capabilities, limits, seccomp, working directory, command.

Init and every process of exec end with these same steps. Their order matters: groups before the
user, since only root may set groups; seccomp while CAP_SYS_ADMIN is left, unless no_new_privs
allows it later; the command is looked up last, as its user, in its working directory.

Sources: OCI runtime-spec config "Process", config-linux "Linux Process"; capabilities(7);
execvp(3) for the search in PATH.
"""

from __future__ import annotations

import os
import stat

from minidock.errors import CommandNotFound, CommandNotRunnable
from minidock.kernel import capability, process
from minidock.kernel.path import enter_directory, set_umask
from minidock.kernel.rlimit import set_rlimit
from minidock.runtime.program import Slot, Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from minidock.document_types.runtime_spec import Capabilities, Process, User
    from minidock.runtime.channel import Channel

_PASSWD_BYTES = 1 << 20
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def terminal_steps(spec: Process, channel: Channel) -> list[Step]:
    """Open the container's terminal, and send its master through the channel.

    Without a terminal, reopen streams that are the host's /dev/null.
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


def credential_steps(spec: Process, filter_program: bytes | None) -> list[Step]:
    """Resource limits, seccomp filter, user and capabilities.

    spec: OCI's "process". filter_program: the compiled seccomp filter, or None.
    """
    uid, gid, groups, umask = _identity(spec.get("user") or {})
    capabilities = spec.get("capabilities")
    no_new_privs = bool(spec.get("noNewPrivileges"))
    steps = [
        Step(set_rlimit, limit["type"], soft=limit["soft"], hard=limit["hard"])
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
    if uid:
        steps.append(Step(process.give_stdio, uid))
    steps += [
        Step(process.set_groups, groups),
        Step(process.set_user, uid, gid),
        Step(set_umask, umask),
    ]
    if capabilities is not None:
        effective, permitted, inheritable = _capset_sets(capabilities)
        steps.append(
            Step(
                capability.set_capabilities,
                effective=effective,
                permitted=permitted,
                inheritable=inheritable,
            )
        )
        steps.append(Step(capability.set_ambient, possible_ambient(capabilities)))
    if no_new_privs:
        steps.append(Step(capability.set_no_new_privs))
    return steps


def _identity(user: User) -> tuple[int, int, list[int], int]:
    """The uid, the gid, the additional groups and the umask of OCI's "user"."""
    umask = 0o022 if user.get("umask") is None else user["umask"]
    return user.get("uid") or 0, user.get("gid") or 0, user.get("additionalGids") or [], umask


def _capset_sets(capabilities: Capabilities) -> tuple[list[str], list[str], list[str]]:
    """The three sets of capset(2): effective, permitted, inheritable. One not given is empty."""
    return (
        capabilities.get("effective") or [],
        capabilities.get("permitted") or [],
        capabilities.get("inheritable") or [],
    )


def _filter_step(filter_program: bytes) -> Step:
    """Load the seccomp filter, which cannot be removed afterwards."""
    from minidock.kernel import seccomp  # already imported to compile the filter

    return Step(seccomp.load, filter_program)


def possible_ambient(capabilities: Capabilities) -> list[str]:
    """The ambient capabilities that are also inheritable and permitted, as the kernel requires.

    `runc spec` writes others too; in OCI a capability that cannot be granted is not an error.
    """
    possible = set(capabilities.get("inheritable") or []) & set(capabilities.get("permitted") or [])
    return [name for name in capabilities.get("ambient") or [] if name in possible]


def apparmor_file() -> str:
    """The /proc file that sets the AppArmor profile of the next execve; "" without AppArmor."""
    try:
        with open("/sys/module/apparmor/parameters/enabled", "rb", buffering=0) as file:
            if not file.read().startswith(b"Y"):
                return ""
    except FileNotFoundError:
        return ""
    own = "/proc/self/attr/apparmor/exec"  # since Linux 5.8; before, of the first LSM
    return own if os.path.exists(own) else "/proc/self/attr/exec"


def command_steps(spec: Process) -> list[Step]:
    """Enter the working directory and look up the command."""
    environment = spec.get("env") or []
    uid = (spec.get("user") or {}).get("uid") or 0
    return [
        Step(process.close_on_exec, 3),
        Step(enter_directory, spec["cwd"]),
        Step(find_command, spec["args"][0], environment, into="command"),
        Step(complete_environment, environment, uid, into="environment"),
    ]


def final_steps(spec: Process, filter_program: bytes | None) -> list[Step]:
    """The last steps, up to execve(2)."""
    steps = []
    if filter_program is not None and spec.get("noNewPrivileges"):
        steps.append(_filter_step(filter_program))
    return [
        *steps,
        Step(process.restore_signals),
        Step(process.execute, Slot("command"), spec["args"], Slot("environment")),
    ]


def complete_environment(environment: list[str], uid: int) -> list[str]:
    """The environment with HOME, set from the container's /etc/passwd if missing."""
    if any(entry.startswith("HOME=") and entry != "HOME=" for entry in environment):
        return environment
    others = [entry for entry in environment if entry != "HOME="]
    return [*others, f"HOME={home_of(uid, '/etc/passwd')}"]


def home_of(uid: int, path: str) -> str:
    """A user's home directory from a passwd(5) file; "/" if it is not listed.

    The image controls the file: a FIFO, a device or a huge file must not block us.
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
    """What execve(2) would find at a path: "program", "directory", "refused", or ""."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return ""
    if stat.S_ISDIR(mode):
        return "directory"
    return "program" if os.access(path, os.X_OK, effective_ids=True) else "refused"


def choose_command(name: str, environment: list[str], look: Callable[[str], str]) -> str:
    """The first path of a command that `look` calls a program; searches PATH, as execvp(3).

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
        raise CommandNotRunnable(refused, hint="the container's user must have execute permission")
    if "/" in name:
        raise CommandNotFound(
            f'exec: "{name}": no such file or directory',
            hint="the path is looked up inside the container",
        )
    raise CommandNotFound(
        f'exec: "{name}": executable file not found in $PATH',
        hint=f"looked in {search} of the container",
    )
