"""An errand: work that may wait, for a disk or for a lock, done by a child of the monitor.

    monitor ──fork──► child ──► done(), or failed(error)

The monitor serves its container meanwhile. An fsync(2) may take seconds beside others' writes, and
whoever holds a lock may be stopped. The child has nothing open but what it opens itself: a socket
or pipe that the monitor closes meanwhile is closed for its other end, too.

What it did is in the files that it wrote; nothing else comes back.

Source: fork(2), fsync(2).
"""

from __future__ import annotations

import os

from minidock import jsontext
from minidock.engine.monitor.alarm import Alarm
from minidock.engine.monitor.loop import READABLE, Loop
from minidock.errors import MinidockError, as_ours
from minidock.kernel import flock
from minidock.kernel.op import use_journal
from minidock.runtime import children
from minidock.runtime.channel import describe_error, rebuild_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT_SECONDS = 120.0
STOPPED_SECONDS, BUSY_SECONDS = 20.0, 60.0  # for a lock, by who holds it
_SIGKILL = 9
_ANSWER_BYTES = 64 * 1024  # what a pipe holds


class Errand:
    """One piece of work. Exactly one of `done` and `failed` is called, once, by the loop."""

    def __init__(
        self,
        loop: Loop,
        work: Callable[[], None],
        *,
        done: Callable[[], None],
        failed: Callable[[MinidockError], None],
    ) -> None:
        self._loop = loop
        self._done = done
        self._failed = failed
        self._reading, writing = os.pipe2(os.O_CLOEXEC)
        self._pid = os.fork()
        if self._pid == 0:
            _work(work, writing)
        os.close(writing)
        children.claimed.add(self._pid)
        loop.watch(self._reading, READABLE, lambda events: self._hear())
        self._alarm = Alarm(loop, int(LIMIT_SECONDS * 1000), self._give_up)

    def abandon(self) -> None:
        """Nobody wants to know any more how it ends; it is not cut short."""
        self._end()

    def _hear(self) -> None:
        answer = os.read(self._reading, _ANSWER_BYTES)
        self._end()
        if answer == b"{}":
            self._done()
        elif answer:
            self._failed(rebuild_error(jsontext.loads(answer)))
        else:
            self._failed(MinidockError("a child of the container's monitor was killed"))

    def _give_up(self) -> None:
        os.kill(self._pid, _SIGKILL)
        self._end()
        self._failed(
            MinidockError(
                f"the disk, or another process, was waited for in vain for {LIMIT_SECONDS:g} s"
            )
        )

    def _end(self) -> None:
        self._alarm.stop()
        self._loop.forget(self._reading)
        os.close(self._reading)
        children.reap_at_some_time(self._pid)


def _work(work: Callable[[], None], writing: int) -> None:
    """What the child does; it does not return."""
    answer: dict[str, object] = {}
    try:
        use_journal(None)  # its descriptors are the monitor's
        _close_all_but(writing)
        with flock.limits(stopped=STOPPED_SECONDS, busy=BUSY_SECONDS):
            work()
    except BaseException as error:
        answer = describe_error(as_ours(error))
    try:
        os.write(writing, jsontext.dumps(answer).encode())
    finally:
        os._exit(0)


def _close_all_but(kept: int) -> None:
    """Close what is the monitor's. It is no act on a container, as process.close_all_but is."""
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        if fd > 2 and fd != kept:
            try:
                os.close(fd)
            except OSError:
                continue  # that of the listing itself
