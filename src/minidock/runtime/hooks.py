"""Hooks: programs that config.json wants run at fixed points of a container's life.

    kind               who runs it, and when                                        if it fails
    prestart           the runtime, on the host: namespaces and mounts are there,   create fails
    createRuntime      the rootfs is not yet the root
    createContainer    init, right after these, in the container's namespaces;      create fails
                       its path is still the host's
    startContainer     init, once started, just before the command; its path is     start fails
                       the container's
    poststart          the runtime, once the command was let go                     start fails
    poststop           the runtime, after delete                                    it is told

Each gets the container's state as JSON on its stdin. No descriptor of ours reaches it.

Source: OCI runtime-spec config "POSIX-platform Hooks".
"""

from __future__ import annotations

import os
import select

from minidock import jsontext
from minidock.errors import MinidockError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

KINDS = (
    "prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop",
)  # fmt: skip
OF_HOST = ("prestart", "createRuntime")
_SIGKILL, _SIGPIPE, _SIGXFSZ = 9, 13, 25
_SHOWN_BYTES = 4096


def has_hooks(hooks: dict[str, Any] | None, kinds: tuple[str, ...]) -> bool:
    """Whether a config's "hooks" have any of these kinds."""
    return any((hooks or {}).get(kind) for kind in kinds)


def run(hooks: dict[str, Any], kinds: tuple[str, ...], state: dict[str, Any]) -> None:
    """Run the hooks of these kinds, in order.

    hooks: config.json's. state: the specification's, for their stdin.
    Raises MinidockError where one fails, times out, or cannot be executed.
    """
    for kind in kinds:
        for number, hook in enumerate(hooks.get(kind) or []):
            _run_one(f"{kind} hook #{number} {hook['path']}", hook, jsontext.dumps(state).encode())


def _run_one(name: str, hook: dict[str, Any], state: bytes) -> None:
    # Memory files instead of pipes: neither a hook that does not read nor one that leaves a child
    # behind can make us wait.
    given, told = os.memfd_create("state"), os.memfd_create("output")
    streams = [(os.POSIX_SPAWN_DUP2, fd, n) for n, fd in enumerate((given, told, told))]
    try:
        os.write(given, state)
        os.lseek(given, 0, os.SEEK_SET)
        try:
            pid = os.posix_spawn(
                hook["path"],
                hook.get("args") or [hook["path"]],
                dict(entry.split("=", 1) for entry in hook.get("env") or [] if "=" in entry),
                file_actions=streams,
                setsigmask=[],
                setsigdef=[_SIGPIPE, _SIGXFSZ],
            )
        except OSError as error:
            raise MinidockError(f"{name}: {error.strerror}") from None
        code = _await(pid, hook.get("timeout"))
        if code == 0:
            return
        said = os.pread(told, _SHOWN_BYTES, 0).decode(errors="replace").strip()
    finally:
        os.close(given)
        os.close(told)
    if code is None:
        raise MinidockError(f"{name}: not done within its {hook['timeout']} s")
    raise MinidockError(f"{name}: exit code {code}" + (f": {said}" if said else ""))


def _await(pid: int, timeout_seconds: int | None) -> int | None:
    """The hook's exit code; None where it had to be killed since its time was over."""
    if timeout_seconds is not None:
        pidfd = os.pidfd_open(pid)
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        in_time = bool(poll.poll(timeout_seconds * 1000))
        os.close(pidfd)
        if not in_time:
            os.kill(pid, _SIGKILL)
            os.waitpid(pid, 0)
            return None
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
