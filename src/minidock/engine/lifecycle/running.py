"""Find a container that must be running."""

from __future__ import annotations

from minidock.engine.container.containers import Container, restarting_error
from minidock.engine.container.lookup import find
from minidock.errors import Conflict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.paths import Store


def find_running(store: Store, reference: str) -> Container:
    """Find a container; raises Conflict if it is not running."""
    container = find(store, reference)
    if not container.running:
        raise Conflict(
            f"Container {container.id} is not running", hint=f"minidock start {container.name}"
        )
    if container.restarting:
        raise restarting_error(container)
    return container
