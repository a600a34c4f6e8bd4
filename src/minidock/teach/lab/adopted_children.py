"""Reap children that the grader did not start.

The grader starts PID 1 of a sandbox as its own child. By clone(CLONE_PARENT) PID 1 can create a
sibling, whose parent is the grader too. A PID namespace ends, and wait(2) for its PID 1 returns,
only when every process in it has been reaped. So ending a sandbox reaps these children too.

Sources: clone(2) CLONE_PARENT, wait(2) __WALL, pid_namespaces(7), proc_pid_status(5) NSpid.
"""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

STARTED_PIDS: set[int] = set()  # what the grader started in sandboxes; others wait for these
_WALL = 0x40000000
_PAUSE_SECONDS = 0.001


def wait_for_init(pid: int, *, on_poll: Callable[[], None] = lambda: None) -> None:
    """Reap a sandbox's killed PID 1, and all children of ours in its PID namespace.

    on_poll: called in each round, to thaw processes that a freezer keeps from dying.
    """
    while not os.waitpid(pid, os.WNOHANG)[0]:
        on_poll()
        for child in _list_adopted():
            os.waitpid(child, os.WNOHANG | _WALL)
        time.sleep(_PAUSE_SECONDS)
    STARTED_PIDS.discard(pid)


def _list_adopted() -> list[int]:
    """Our children in a PID namespace below ours that we did not start."""
    children: list[int] = []
    for thread in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{thread}/children", encoding="ascii") as file:
                children += map(int, file.read().split())
        except (FileNotFoundError, ProcessLookupError):
            continue  # the thread has ended; another thread has its children now
    depth = _depth(os.getpid())
    return [pid for pid in children if pid not in STARTED_PIDS and _depth(pid) > depth]


def _depth(pid: int) -> int:
    """The number of PID namespaces in which a process has a pid."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            return next(len(line.split()) - 1 for line in file if line.startswith("NSpid:"))
    except (OSError, StopIteration):
        return 0
