"""An errand: work that may wait, for a disk or for a lock, done by a child of the monitor.

    monitor ──fork──► child ──► done(), or failed(error)

The monitor serves its container meanwhile. An fsync(2) may take seconds beside others' writes, and
whoever holds a lock may be stopped, as may be a program that the child runs. The child has nothing
open but what it opens itself: a socket or pipe that the monitor closes meanwhile is closed for its
other end, too. So it must not close what it has inherited: the number may be another file's.

What it did is in the files that it wrote, and in the kernel; nothing else comes back. It ends with
the monitor: whoever repairs what a killed monitor has left has nobody at work beside it.

Source: fork(2), fsync(2), prctl(2) PR_SET_PDEATHSIG.
"""

from __future__ import annotations

import os

from minidock import jsontext
from minidock.engine.monitor.poll_loop import READABLE, Loop
from minidock.engine.monitor.timer import Timer
from minidock.engine.store.journal import fault_gate
from minidock.errors import MinidockError, as_ours
from minidock.kernel import flock
from minidock.kernel.op import Journal, use_journal
from minidock.kernel.process import die_with_parent
from minidock.runtime import children
from minidock.runtime.channel import describe_error, rebuild_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT_SECONDS = 120.0
STOPPED_SECONDS, BUSY_SECONDS = 20.0, 60.0  # for a lock, by who holds it
_SIGKILL = 9
_ANSWER_BYTES = 64 * 1024  # what a pipe holds


class TaskKilled(MinidockError):
    """An errand's child was killed in the middle of its work."""


class ChildTask:
    """One piece of work. Exactly one of `done` and `failed` is called, once, by the loop."""

    def __init__(
        self,
        loop: Loop,
        work: Callable[[], None],
        *,
        done: Callable[[], None],
        failed: Callable[[MinidockError], None],
        limit_seconds: float = LIMIT_SECONDS,
    ) -> None:
        self._loop = loop
        self._done = done
        self._failed = failed
        self._limit_seconds = limit_seconds
        self._reading, writing = os.pipe2(os.O_CLOEXEC)
        monitor = os.getpid()
        self._pid = os.fork()
        if self._pid == 0:
            _work(work, writing, monitor)
        os.close(writing)
        children.tracked.add(self._pid)
        loop.watch(self._reading, READABLE, lambda events: self._hear())
        self._timer = Timer(loop, int(limit_seconds * 1000), self._give_up)

    def abandon(self) -> None:
        """Nobody wants to know any more how it ends; it is not cut short."""
        self._end()

    def kill(self) -> None:
        """What it does is not wanted any more: neither `done` nor `failed` is called."""
        os.kill(self._pid, _SIGKILL)
        self._end()

    def _hear(self) -> None:
        answer = os.read(self._reading, _ANSWER_BYTES)
        self._end()
        if answer == b"{}":
            self._done()
        elif answer:
            self._failed(rebuild_error(jsontext.loads(answer)))
        else:
            self._failed(TaskKilled("a child of the container's monitor was killed"))

    def _give_up(self) -> None:
        self.kill()
        self._failed(
            TaskKilled(
                "the disk, or another process, was waited for in vain for "
                f"{self._limit_seconds:g} s"
            )
        )

    def _end(self) -> None:
        self._timer.stop()
        self._loop.forget(self._reading)
        os.close(self._reading)
        children.reap_eventually(self._pid)


def _work(work: Callable[[], None], writing: int, monitor: int) -> None:
    """What the child does; it does not return. monitor: its parent's pid."""
    answer: dict[str, object] = {}
    try:
        die_with_parent()
        if os.getppid() != monitor:  # it had ended before
            os._exit(1)
        _begin_journal()
        _close_all_but(writing)
        with flock.limits(stopped=STOPPED_SECONDS, busy=BUSY_SECONDS):
            work()
    except BaseException as error:
        answer = describe_error(as_ours(error))
    try:
        os.write(writing, jsontext.dumps(answer).encode())
    finally:
        os._exit(0)


def _begin_journal() -> None:
    """What it does is told where it names a journal itself: the descriptors are the monitor's."""
    journal = Journal(lambda record: None, actor="errand")
    journal.gate = fault_gate()
    use_journal(journal)


def _close_all_but(kept: int) -> None:
    """Close what is the monitor's. It is no act on a container, as process.close_all_but is."""
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        if fd > 2 and fd != kept:
            try:
                os.close(fd)
            except OSError:
                continue  # that of the listing itself
