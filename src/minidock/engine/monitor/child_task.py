"""A child task: blocking work, such as fsync(2) or a lock, in a forked child of the monitor.

    monitor ──fork──► child ──► done(), or failed(error)

The monitor serves its container meanwhile: an fsync(2) may take seconds, and the holder of a lock
or a program that the child runs may be stopped. The child first closes all inherited descriptors;
otherwise a socket or pipe that the monitor closes would stay open for its other end. So the work
must not close an inherited descriptor: its number may belong to another file by then.

The task's results are the files that it writes and the kernel's state; only an error is sent back.
The child is killed with the monitor, so that a later repair has no concurrent writer.

Source: fork(2), fsync(2), prctl(2) PR_SET_PDEATHSIG.
"""

from __future__ import annotations

import os

from minidock import jsontext
from minidock.engine.monitor.poll_loop import READABLE, Loop
from minidock.engine.monitor.poll_timer import Timer
from minidock.engine.store.journal import fault_gate
from minidock.errors import MinidockError, as_ours
from minidock.kernel import flock
from minidock.kernel.op import Journal, use_journal
from minidock.kernel.process import die_with_parent
from minidock.runtime import children
from minidock.runtime.channel import describe_error, rebuild_error
from minidock.signals import SIGKILL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT_SECONDS = 120.0
# Limits for a lock whose holder is stopped (SIGSTOP), or busy.
STOPPED_SECONDS, BUSY_SECONDS = 20.0, 60.0
_ANSWER_BYTES = 64 * 1024  # a pipe's capacity


class TaskKilled(MinidockError):
    """The child of a task was killed before it finished."""


class ChildTask:
    """One task. The loop calls exactly one of `done` and `failed`, once."""

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
        loop.watch(self._reading, READABLE, lambda events: self._read_answer())
        self._timer = Timer(loop, int(limit_seconds * 1000), self._on_timeout)

    def abandon(self) -> None:
        """Let the child finish, but call neither `done` nor `failed`."""
        self._end()

    def kill(self) -> None:
        """Kill the child; neither `done` nor `failed` is called."""
        os.kill(self._pid, SIGKILL)
        self._end()

    def _read_answer(self) -> None:
        answer = os.read(self._reading, _ANSWER_BYTES)
        self._end()
        if answer == b"{}":
            self._done()
        elif answer:
            self._failed(rebuild_error(jsontext.loads(answer)))
        else:
            self._failed(TaskKilled("a child of the container's monitor was killed"))

    def _on_timeout(self) -> None:
        self.kill()
        self._failed(
            TaskKilled(
                f"a child of the monitor did not finish within {self._limit_seconds:g} s",
                hint="it waits for the disk or for another process",
            )
        )

    def _end(self) -> None:
        self._timer.stop()
        self._loop.forget(self._reading)
        os.close(self._reading)
        children.reap_eventually(self._pid)


def _work(work: Callable[[], None], writing: int, monitor: int) -> None:
    """Do the work in the child; does not return. monitor: its parent's pid."""
    answer: dict[str, object] = {}
    try:
        die_with_parent(monitor)
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
    """Use a journal that discards records; the work opens its own, since descriptors are closed."""
    journal = Journal(lambda record: None, actor="task")
    journal.gate = fault_gate()
    use_journal(journal)


def _close_all_but(keep_fd: int) -> None:
    """Close the monitor's descriptors; unlike process.close_all_but, this is not an op."""
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        if fd > 2 and fd != keep_fd:
            try:
                os.close(fd)
            except OSError:
                continue  # os.listdir's own
