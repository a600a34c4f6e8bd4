"""`network connect` and `disconnect` of a running container: begun at once, done when its locks are
free, answered then (process.py, "N").
"""

from __future__ import annotations

from minidock.engine.monitor import wire
from minidock.engine.monitor.locking import Locking
from minidock.errors import MinidockError, as_ours
from minidock.runtime.channel import describe_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minidock.engine.monitor.client import Client
    from minidock.engine.monitor.loop import Loop
    from minidock.engine.monitor.run import Run


class Rewiring:
    """The changes that wait for their locks."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._waiting: list[Locking] = []

    def begin(self, client: Client, run: Run, content: dict[str, Any]) -> None:
        """Change a run's networks. content: of an N message; client: gets the answer."""

        def change() -> None:
            try:
                run.rewire(content["network"], content["asked"])
            except Exception as error:  # a fault of ours is no reason for the container to end
                fail(as_ours(error))
            else:
                client.send(b"S")

        def fail(error: MinidockError) -> None:
            client.send(wire.message(b"f", describe_error(error)))

        try:
            locking = Locking(
                self._loop, run.locks_to_rewire(content["asked"]), locked=change, failed=fail
            )
        except OSError as error:
            fail(as_ours(error))
            return
        self._waiting = [each for each in [*self._waiting, locking] if each.waits]

    def give_up(self, error: MinidockError) -> None:
        """The container has ended: none of them is wanted any more."""
        for locking in self._waiting:
            if locking.waits:
                locking.give_up(error)
