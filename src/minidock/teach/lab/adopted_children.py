"""Children that the grader has and never started: a program of a place may give it some.

What the grader starts in a place is its own child. By clone(CLONE_PARENT) such a program bears a
sibling, whose parent is the grader too; and a PID namespace does not end, nor does waiting for its
PID 1, before each process in it was waited for by its parent. So whoever ends a place waits for
these too.

Sources: clone(2) CLONE_PARENT, wait(2) __WALL, pid_namespaces(7), proc_pid_status(5) NSpid.
"""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

STARTED_PIDS: set[int] = set()  # what the grader has started in places, and waits for by itself
_WALL = 0x40000000
_PAUSE_SECONDS = 0.001


def wait_for_init(pid: int, *, on_poll: Callable[[], None] = lambda: None) -> None:
    """Wait for the end of a place's PID 1, which was killed, and of all in its PID namespace.

    each_time: what is done about processes that do not die.
    """
    while not os.waitpid(pid, os.WNOHANG)[0]:
        on_poll()
        for stranger in _list_adopted():
            os.waitpid(stranger, os.WNOHANG | _WALL)
        time.sleep(_PAUSE_SECONDS)
    STARTED_PIDS.discard(pid)


def _list_adopted() -> list[int]:
    """Our children that are in a PID namespace below ours, and that we have not started."""
    children: list[int] = []
    for thread in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{thread}/children", encoding="ascii") as file:
                children += map(int, file.read().split())
        except (FileNotFoundError, ProcessLookupError):
            continue  # a thread that has ended; its children are another's by now
    depth = _depth(os.getpid())
    return [pid for pid in children if pid not in STARTED_PIDS and _depth(pid) > depth]


def _depth(pid: int) -> int:
    """In how many PID namespaces a process has a number."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            return next(len(line.split()) - 1 for line in file if line.startswith("NSpid:"))
    except (OSError, StopIteration):
        return 0
