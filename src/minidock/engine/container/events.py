"""The events of containers, with the same attributes as those of dockerd.

Source: Docker Engine API 1.45 SystemEvents; the events of docker 26.1.
"""

from __future__ import annotations

from minidock.engine.store.event_log import emit_all, event

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from minidock.document_types.container import MountPoint
    from minidock.document_types.store import Event
    from minidock.engine.container.containers import Container

_DRIVERS = {"none": "null", "host": "host"}


def emit_container(container: Container, action: str, **attributes: str) -> None:
    """Record an event of a container, with its image, name and labels."""
    emit_all(container.store, [_of_container(container, action, attributes)])


def emit_resized(container: Container, *, rows: int, columns: int) -> None:
    """Record that a container's terminal was resized."""
    emit_container(container, "resize", height=str(rows), width=str(columns))


def emit_started(container: Container) -> None:
    """Record that a container was started, with its networks and volumes."""
    events = [
        event("network", "connect", network_id, {"container": container.id, **about})
        for network_id, about in _networks(container)
    ]
    for point in _volumes(container):
        about = {
            "container": container.id, "destination": point["Destination"], "driver": "local",
            "propagation": point["Propagation"], "read/write": str(point["RW"]).lower(),
        }  # fmt: skip
        events.append(event("volume", "mount", point["Name"], about))
    emit_all(container.store, [*events, _of_container(container, "start", {})])


def emit_ended(container: Container, code: int, *, seconds: float, oom: bool) -> None:
    """Record that a container has exited. The document still lists its networks."""
    events = [_of_container(container, "oom", {})] if oom else []
    events += [
        event("network", "disconnect", network_id, {"container": container.id, **about})
        for network_id, about in _networks(container)
    ]
    for point in _volumes(container):
        about = {"container": container.id, "driver": "local"}
        events.append(event("volume", "unmount", point["Name"], about))
    how = {"execDuration": str(int(seconds)), "exitCode": str(code)}
    emit_all(container.store, [*events, _of_container(container, "die", how)])


def _networks(container: Container) -> Iterator[tuple[str, dict[str, str]]]:
    for name, endpoint in container.document["NetworkSettings"]["Networks"].items():
        yield endpoint["NetworkID"], {"name": name, "type": _DRIVERS.get(name, "bridge")}


def _volumes(container: Container) -> list[MountPoint]:
    return [point for point in container.document["Mounts"] if point["Type"] == "volume"]


def _of_container(container: Container, action: str, attributes: dict[str, str]) -> Event:
    config = container.config
    known = {**(config.get("Labels") or {}), "image": config["Image"], "name": container.name}
    made = event("container", action, container.id, {**known, **attributes})
    return {"status": action, "id": container.id, "from": config["Image"], **made}
