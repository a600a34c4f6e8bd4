"""pause and unpause: freeze and thaw all processes of a container by its cgroup."""

from __future__ import annotations

from errno import ENODEV, ENOENT

from minidock.engine.container.cgroups import cgroup_of
from minidock.engine.container.containers import Container
from minidock.engine.container.events import emit_container
from minidock.engine.lifecycle.running import find_running
from minidock.engine.store.journal import recording_to
from minidock.errors import Conflict, KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.paths import Store


def pause(store: Store, reference: str) -> None:
    """Freeze all processes of a container."""
    container = find_running(store, reference)
    with container.editing():
        container.reload()
        if container.state["Paused"]:
            raise Conflict(
                f"Container {container.id} is already paused",
                hint=f"minidock unpause {container.name}",
            )
        with _while_it_lives(container):
            cgroup_of(store, container.id).freeze()
        container.state.update({"Paused": True, "Status": "paused"})
        container.save()
    emit_container(container, "pause")


def unpause(store: Store, reference: str) -> None:
    """Thaw all processes of a container."""
    container = find_running(store, reference)
    if not container.state["Paused"]:
        raise Conflict(f"Container {container.id} is not paused")
    with container.editing():
        container.reload()
        with _while_it_lives(container):
            cgroup_of(store, container.id).thaw()
        container.state.update({"Paused": False, "Status": "running"})
        container.save()
    emit_container(container, "unpause")


class _while_it_lives(recording_to):
    """Use a container's cgroup in the block. Raises Conflict if it has gone meanwhile."""

    def __init__(self, container: Container) -> None:
        super().__init__(container.paths)
        self._id = container.id

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        if isinstance(error[1], KernelError) and error[1].errno in (ENOENT, ENODEV):
            raise Conflict(f"Container {self._id} is not running") from None


def ensure_unpaused(container: Container) -> None:
    """Unpause a container before it is stopped; ignores that it is not paused any more."""
    if container.state["Paused"]:
        try:
            unpause(container.store, container.id)
        except Conflict:
            pass
