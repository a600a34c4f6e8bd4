"""Locks for work of the monitor that needs several: it serves its container until it has them.

    asked for ──► locked()          all of them are ours, until it returns
             └──► failed(error)     one process has held one of them for too long

They are asked for every few milliseconds: flock(2) has nothing that poll(2) could wait for.
"""

from __future__ import annotations

from minidock.engine.monitor.alarm import Alarm
from minidock.engine.store.locks import Together
from minidock.errors import MinidockError
from minidock.kernel import flock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from minidock.engine.monitor.loop import Loop

STOPPED_SECONDS, BUSY_SECONDS = 10.0, 60.0
_RETRY_MS = 10


class Locking:
    """One attempt to have locks. Exactly one of `locked` and `failed` is called, once.

    paths: of files that exist. Where all are free, `locked` is called before this returns.
    """

    def __init__(
        self,
        loop: Loop,
        paths: Sequence[str],
        *,
        locked: Callable[[], None],
        failed: Callable[[MinidockError], None],
    ) -> None:
        self._loop = loop
        self._locked = locked
        self._failed = failed
        self._alarm: Alarm | None = None
        self._locks = Together(paths)
        self._try()

    @property
    def waits(self) -> bool:
        """Whether neither was called yet."""
        return self._alarm is not None

    def give_up(self, error: MinidockError) -> None:
        """Nobody needs them any more."""
        if self._alarm is not None:
            self._alarm.stop()
            self._alarm = None
        self._locks.close()
        self._failed(error)

    def _try(self) -> None:
        self._alarm = None
        try:
            with flock.limits(stopped=STOPPED_SECONDS, busy=BUSY_SECONDS):
                ours = self._locks.try_all()
        except MinidockError as error:
            self.give_up(error)
            return
        if not ours:
            self._alarm = Alarm(self._loop, _RETRY_MS, self._try)
            return
        try:
            with self._locks.held():
                self._locked()
        finally:
            self._locks.close()
