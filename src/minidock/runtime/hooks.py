"""OCI hooks: programs that run at fixed points of a container's lifecycle.

    kind               run by, and when                                             if it fails
    prestart           the runtime, in its own namespaces: the container's          create fails
    createRuntime      namespaces and mounts exist, pivot_root is still to come
    createContainer    init, right after these, in the container's namespaces;      create fails
                       its path is resolved on the host
    startContainer     init, after `start`, just before the command; its path is    start fails
                       resolved in the container
    poststart          the runtime, once the command runs                           start fails
    poststop           the runtime, after delete                                    a warning

Each gets the container's OCI state as JSON on its stdin, and none of our descriptors.

Source: OCI runtime-spec config "POSIX-platform Hooks".
"""

from __future__ import annotations

import os
import select

from minidock import jsontext
from minidock.errors import MinidockError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal

    from minidock.document_types.runtime_spec import Hook, Hooks, OciState
else:
    import _signal as signal  # without the enums, whose import costs 5 ms

KINDS = (
    "prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop",
)  # fmt: skip
OF_HOST = ("prestart", "createRuntime")
_OUTPUT_BYTES = 4096


def has_hooks(hooks: Hooks | None, kinds: tuple[str, ...]) -> bool:
    """Whether a config's "hooks" contain any of these kinds."""
    return any((hooks or {}).get(kind) for kind in kinds)


def run(hooks: Hooks, kinds: tuple[str, ...], state: OciState) -> None:
    """Run the hooks of these kinds, in order.

    hooks: config.json's. state: the OCI state, for their stdin.
    Raises MinidockError if one fails, times out, or cannot be executed.
    """
    for kind in kinds:
        for number, hook in enumerate(hooks.get(kind) or []):
            _run_one(f"{kind} hook #{number} {hook['path']}", hook, jsontext.dumps(state).encode())


def _run_one(name: str, hook: Hook, state: bytes) -> None:
    # Memory files instead of pipes: a hook that does not read its stdin, or leaves a child with its
    # stdout, cannot block us.
    stdin, output = os.memfd_create("state"), os.memfd_create("output")
    streams = [(os.POSIX_SPAWN_DUP2, fd, n) for n, fd in enumerate((stdin, output, output))]
    try:
        os.write(stdin, state)
        os.lseek(stdin, 0, os.SEEK_SET)
        try:
            pid = os.posix_spawn(
                hook["path"],
                hook.get("args") or [hook["path"]],
                dict(entry.split("=", 1) for entry in hook.get("env") or [] if "=" in entry),
                file_actions=streams,
                setsigmask=[],
                setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
            )
        except OSError as error:
            raise MinidockError(f"{name}: {error.strerror}") from None
        code = _wait(pid, hook.get("timeout"))
        if code == 0:
            return
        text = os.pread(output, _OUTPUT_BYTES, 0).decode(errors="replace").strip()
    finally:
        os.close(stdin)
        os.close(output)
    if code is None:
        raise MinidockError(f"{name}: timed out after {hook['timeout']} s")
    raise MinidockError(f"{name}: exit code {code}" + (f": {text}" if text else ""))


def _wait(pid: int, timeout_seconds: int | None) -> int | None:
    """Wait for the hook; returns its exit code, or None if it timed out and was killed."""
    if timeout_seconds is not None:
        pidfd = os.pidfd_open(pid)
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        in_time = bool(poll.poll(timeout_seconds * 1000))
        os.close(pidfd)
        if not in_time:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return None
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
