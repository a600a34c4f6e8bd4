"""The test's process in place of the machine's PID 1: it becomes the parent of orphans.

    with adopting():
        ...

Not longer: an adopted process stays a zombie until somebody waits for it, and the PID namespace
that it was in lasts as long. A test's process that went on adopting would keep the containers of
later tests from ending.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from minidock.kernel.libc import syscall
from minidock.kernel.process import PR_SET_CHILD_SUBREAPER


@contextmanager
def adopting() -> Iterator[None]:
    """A block in which orphans become this process's children; at its end, the dead are reaped."""
    before = set(children())
    syscall("prctl", PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0, subject="subreaper")
    try:
        yield
    finally:
        syscall("prctl", PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0, subject="subreaper")
        for pid in set(children()) - before:
            if is_dead(pid):
                os.waitpid(pid, 0)


def children() -> list[int]:
    """The children of this process's first thread."""
    return [int(pid) for pid in Path("/proc/thread-self/children").read_text().split()]


def is_dead(pid: int) -> bool:
    """Whether a process has exited, reaped or not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True
