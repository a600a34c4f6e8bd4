"""The children of this process: list them from /proc, and reap them.

waitpid(2) may wait forever for a child that has exited: while it is traced (strace, gdb), its
parent cannot reap it before the tracer has, and the tracer may be stopped. So every wait here has a
limit; a child that cannot be reaped now is reaped later.

Source: proc(5) "/proc/pid/task/tid/children", "/proc/pid/stat", "/proc/pid/fd"; ptrace(2) "Death
under ptrace"; wait(2).
"""

from __future__ import annotations

import os
import select

tracked: set[int] = set()  # children that have an owner; all others may be strays of an exec
_unreaped: list[int] = []
_AT_ONCE_SECONDS = 0.2


def reap(pid: int, *, seconds: float = 0) -> int | None:
    """Reap a child that has exited or exits within `seconds`; returns its wait status.

    None if it still runs, or its tracer has not reaped it.
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
    """Reap an exiting child: now, or else in a later call."""
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
    """The wait status of a zombie that cannot be reaped yet."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        return int(file.read().rpartition(b")")[2].split()[49])


def children() -> set[int]:
    """The pids of our children; empty without CONFIG_PROC_CHILDREN."""
    try:
        with open("/proc/thread-self/children", encoding="ascii") as file:
            return {int(word) for word in file.read().split()}
    except FileNotFoundError:
        return set()


def is_zombie(pid: int) -> bool:
    """Whether our child is a zombie."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        return file.read().rpartition(b")")[2].split()[0] == b"Z"


def holds_or_exits(pid: int, link: str) -> bool:
    """Whether a process holds this file open, or is exiting and holds no file any more."""
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
