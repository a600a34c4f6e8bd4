"""restart: stop a container, and start it again."""

from __future__ import annotations

from minidock.engine.container.events import emit_container
from minidock.engine.container.lookup import find, wait_until_settled
from minidock.engine.lifecycle.start import start
from minidock.engine.lifecycle.stop import stop
from minidock.engine.monitor.connection import cancel_auto_remove

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.paths import Store


def restart(
    store: Store, reference: str, *, timeout_seconds: int | None = None, signal: str | None = None
) -> None:
    """Stop a container, and start it again; --rm does not remove it in between."""
    container = wait_until_settled(store, reference)
    if container.running:
        cancel_auto_remove(container)
    stop(store, reference, timeout_seconds=timeout_seconds, signal=signal)
    start(store, reference, attach=None)
    emit_container(find(store, reference), "restart")
