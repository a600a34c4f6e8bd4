"""A pending exec: a process that joins the container, watched by the monitor's loop.

    start ──► entered(process)     its command runs
         └──► failed(error)        it failed, or took too long and was killed

Until its command runs, the process may be stopped, killed, or wait for memory. So the monitor waits
for it by poll(2), with a limit.
"""

from __future__ import annotations

import time

from minidock.engine.monitor.poll_loop import READABLE, Loop
from minidock.engine.monitor.poll_timer import Timer
from minidock.errors import CommandNotRunnable, Conflict, MinidockError, as_ours
from minidock.runtime.exec import ENDED_DURING_EXEC

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from minidock.runtime.exec import ExecProcess, ExecStart

LIMIT_SECONDS = 30.0
_CHECK_MS = 200


class PendingExec:
    """One start of a process. Exactly one of `entered` and `failed` is called, once."""

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
        self._timer = Timer(loop, _CHECK_MS, self._check)
        self._watch()

    def abandon(self) -> None:
        """Kill and reap the process, since the container has ended; calls `failed`."""
        self._entering.give_up(Conflict(ENDED_DURING_EXEC))
        self._proceed(wait=True)

    def end(self) -> None:
        """Kill the process at its owner's time-out; `failed` is called once it has exited."""
        self._entering.give_up(CommandNotRunnable("the process took too long to enter"))
        self._watch()

    def _watch(self) -> None:
        fd = self._entering.fileno()
        if fd != self._watched:
            self._loop.forget(self._watched)
            self._loop.watch(fd, READABLE, lambda events: self._proceed())
            self._watched = fd

    def _proceed(self, *, wait: bool = False) -> None:
        self._loop.forget(self._watched)  # the descriptor's number may be reused
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

    def _check(self) -> None:
        """Check the limit, and for a process that died unnoticed."""
        if self._entering.has_lost_process():
            self._entering.give_up(Conflict(ENDED_DURING_EXEC))
        elif time.monotonic() > self._deadline:
            self._entering.give_up(
                CommandNotRunnable(
                    f"the process did not enter the container within {self._limit_seconds:g} s",
                    hint="is it stopped (SIGSTOP), or is the machine out of memory?",
                )
            )
        self._timer = Timer(self._loop, _CHECK_MS, self._check)
        self._watch()
