"""A timer of the poll loop, from timerfd_create(2)."""

from __future__ import annotations

import os

from minidock.engine.monitor.poll_loop import READABLE, Loop
from minidock.kernel.op import current_journal, use_journal
from minidock.kernel.timer import wake_after

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Timer:
    """Calls a handler once, unless stopped before; the container's journal does not record it."""

    def __init__(self, loop: Loop, milliseconds: int, handler: Callable[[], None]) -> None:
        self._loop = loop
        self._handler = handler
        journal = current_journal()
        use_journal(None)
        try:
            self._fd = wake_after(max(1, milliseconds))
        finally:
            use_journal(journal)
        loop.watch(self._fd, READABLE, lambda events: self._expire())

    def _expire(self) -> None:
        self.stop()
        self._handler()

    def stop(self) -> None:
        """Cancel the timer; idempotent."""
        if self._fd >= 0:
            self._loop.forget(self._fd)
            os.close(self._fd)
            self._fd = -1
