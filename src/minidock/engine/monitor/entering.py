"""A process on its way into the container, watched by the monitor's loop.

    begun ──► entered(process)     its command runs
         └──► failed(error)        it could not; or it took too long, and was ended

On its way it is a process like any other: it may be stopped, killed, or wait for memory. The
monitor waits for it as it waits for everything, by poll(2), and no longer than a limit.
"""

from __future__ import annotations

import time

from minidock.engine.monitor.poll_loop import READABLE, Loop
from minidock.engine.monitor.timer import Timer
from minidock.errors import CommandNotRunnable, Conflict, MinidockError, as_ours
from minidock.runtime.exec import ENDED_DURING_EXEC

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from minidock.runtime.exec import ExecProcess, ExecStart

LIMIT_SECONDS = 30.0
_LOOK_MS = 200


class PendingExec:
    """One process's way in. Exactly one of `entered` and `failed` is called, once."""

    def __init__(
        self,
        loop: Loop,
        entering: ExecStart,
        *,
        entered: Callable[[ExecProcess], None],
        failed: Callable[[MinidockError], None],
        limit_seconds: float = LIMIT_SECONDS,
    ) -> None:
        self._loop = loop
        self._entering = entering
        self._entered = entered
        self._failed = failed
        self._limit_seconds = limit_seconds
        self._deadline = time.monotonic() + limit_seconds
        self._watched = -1
        self._timer = Timer(loop, _LOOK_MS, self._look)
        self._watch()

    def abandon(self) -> None:
        """Its container has ended, and it with that: end and reap it, and tell that it failed."""
        self._entering.give_up(Conflict(ENDED_DURING_EXEC))
        self._proceed(wait=True)

    def end(self) -> None:
        """Its time is up, as its owner counts it: end it; `failed` is called once it has ended."""
        self._entering.give_up(CommandNotRunnable("the process took too long to enter"))
        self._watch()

    def _watch(self) -> None:
        fd = self._entering.fileno()
        if fd != self._watched:
            self._loop.forget(self._watched)
            self._loop.watch(fd, READABLE, lambda events: self._proceed())
            self._watched = fd

    def _proceed(self, *, wait: bool = False) -> None:
        self._loop.forget(self._watched)  # its number may be another's afterwards
        self._watched = -1
        try:
            entered = self._entering.proceed(wait=wait)
        except (MinidockError, OSError) as error:
            self._timer.stop()
            self._failed(as_ours(error))
            return
        if entered is None:
            self._watch()
            return
        self._timer.stop()
        self._entered(entered)

    def _look(self) -> None:
        """Has it taken too long, or died unnoticed?"""
        if self._entering.has_lost_process():
            self._entering.give_up(Conflict(ENDED_DURING_EXEC))
        elif time.monotonic() > self._deadline:
            self._entering.give_up(
                CommandNotRunnable(
                    f"the process did not enter the container within {self._limit_seconds:g} s",
                    hint="was it stopped (SIGSTOP) on its way, or is the machine out of memory?",
                )
            )
        self._timer = Timer(self._loop, _LOOK_MS, self._look)
        self._watch()
