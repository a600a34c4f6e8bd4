"""The state that a stage will reach, waited for by the stages that need it."""

from __future__ import annotations

from minidock.engine.build.run_step import Cancelled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.engine.build.stage_state import State


class Promise:
    """What a stage will have come to."""

    def __init__(self) -> None:
        from threading import Event  # builds of one stage make no promises

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
        """The stage's last state. Raises Cancelled where it failed."""
        self._known.wait()
        if self._state is None:
            raise Cancelled("cancelled")
        return self._state
