"""The children of this process: found in /proc without having been told of, and reaped.

waitpid(2) may wait for ever for a child that has ended: one that somebody traces (strace, gdb) has
not ended for its parent before its tracer has seen that, and the tracer may be stopped. So nobody
waits here without a limit; who cannot be reaped now is reaped later.

Source: proc(5) "/proc/pid/task/tid/children", "/proc/pid/stat", "/proc/pid/fd"; ptrace(2) "Death
under ptrace"; wait(2).
"""

from __future__ import annotations

import os
import select

tracked: set[int] = set()  # children that somebody looks after: no strays of another's
_unreaped: list[int] = []
_AT_ONCE_SECONDS = 0.2


def reap(pid: int, *, seconds: float = 0) -> int | None:
    """Reap a child that has ended, or does so soon; returns its wait status.

    None where it has not ended within so many seconds, or its tracer has not seen it.
    """
    found, status = os.waitpid(pid, os.WNOHANG)
    if found != pid and seconds:
        pidfd = os.pidfd_open(pid)
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        poll.poll(int(seconds * 1000))
        os.close(pidfd)
        found, status = os.waitpid(pid, os.WNOHANG)
    return status if found == pid else None


def reap_eventually(pid: int) -> None:
    """Reap a child that ends just now: at once, or else when the next one is reaped so."""
    if reap(pid, seconds=_AT_ONCE_SECONDS) is None:
        tracked.add(pid)
        _unreaped.append(pid)
    else:
        tracked.discard(pid)
    for other in _unreaped[:]:
        if reap(other) is not None:
            _unreaped.remove(other)
            tracked.discard(other)


def zombie_status(pid: int) -> int:
    """The wait status of a child that has ended, though it cannot be reaped."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        return int(file.read().rpartition(b")")[2].split()[49])


def children() -> set[int]:
    """Our children; none on a kernel without CONFIG_PROC_CHILDREN."""
    try:
        with open("/proc/thread-self/children", encoding="ascii") as file:
            return {int(word) for word in file.read().split()}
    except FileNotFoundError:
        return set()


def is_zombie(pid: int) -> bool:
    """Whether a child of ours has ended; it stays until it is reaped."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        return file.read().rpartition(b")")[2].split()[0] == b"Z"


def holds_or_exits(pid: int, link: str) -> bool:
    """Whether a process has a descriptor of this file, or is exiting: it has none any more then."""
    try:
        held = [_target(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
    except FileNotFoundError:
        return False
    return not any(held) or link in held


def _target(path: str) -> str:
    try:
        return os.readlink(path)
    except FileNotFoundError:
        return ""  # closed meanwhile
