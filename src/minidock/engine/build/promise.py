"""The future state of a stage, for the stages that depend on it."""

from __future__ import annotations

from minidock.engine.build.run_step import Cancelled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.engine.build.stage_state import State


class Promise:
    """The future final state of a stage; a small concurrent.futures.Future."""

    def __init__(self) -> None:
        from threading import Event  # only builds of several stages need it

        self._known = Event()
        self._state: State | None = None
        self.error: BaseException | None = None

    def set_result(self, state: State) -> None:
        self._state = state
        self._known.set()

    def set_exception(self, error: BaseException) -> None:
        self.error = error
        self._known.set()

    def result(self) -> State:
        """Wait for the stage's final state. Raises Cancelled if the stage failed."""
        self._known.wait()
        if self._state is None:
            raise Cancelled("cancelled")
        return self._state
