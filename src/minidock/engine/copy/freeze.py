"""Freeze a container while it is read, and thaw it even if the reader is killed.

    commit ──── a pipe, never written to ────▶ guard
      │ freezes the container                    waits for the pipe's end:
      │ reads                                    the block has ended, or commit is dead
      ▼ closes the pipe, waits for the guard     thaws the container

A killed command cannot clean up; the guard is a separate process in its own session, so that
neither kill -9 nor Ctrl-C hits both.
"""

from __future__ import annotations

import os

from minidock.engine.lifecycle.pause import pause, unpause

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from minidock.paths import Store


class StandingStill:
    """`with StandingStill(store, container_id):` its processes are frozen."""

    def __init__(self, store: Store, container_id: str) -> None:
        self._store = store
        self._id = container_id
        self._pipe = -1
        self._guard = 0

    def __enter__(self) -> None:
        ended, self._pipe = os.pipe()
        self._guard = os.fork()
        if self._guard == 0:
            os.close(self._pipe)
            self._watch(ended)
        os.close(ended)
        try:
            pause(self._store, self._id)
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *error: object) -> None:
        os.close(self._pipe)
        os.waitpid(self._guard, 0)

    def _watch(self, ended: int) -> NoReturn:
        """Run the guard; it has no way to report an error."""
        try:
            os.setsid()
            os.read(ended, 1)
            unpause(self._store, self._id)
        finally:
            os._exit(0)
