"""Removing a container: its processes, its network, its files, and at -v its anonymous volumes."""

from __future__ import annotations

from minidock.engine.container.containers import Container, discard
from minidock.engine.container.volumes import inspect as inspect_volume
from minidock.engine.container.volumes import remove as remove_volume
from minidock.engine.events import tell_container
from minidock.engine.image.removal import collect
from minidock.engine.image.users import users_of
from minidock.engine.journal import recording_to
from minidock.engine.monitor.teardown import take_down
from minidock.errors import Conflict, NotFound


def remove_owned(container: Container, *, volumes: bool) -> None:
    """Remove a container that is ours and does not run; an image kept only for it goes too.

    volumes: with the anonymous volumes that only it uses.
    """
    with recording_to(container.paths):
        take_down(container.store, container.id)
    discard(container)
    if volumes:
        _remove_anonymous_volumes(container)
    tell_container(container, "destroy")
    collect(container.store, users_of(container.store))


def _remove_anonymous_volumes(container: Container) -> None:
    for point in container.document["Mounts"]:
        if point["Type"] != "volume" or not _is_anonymous(container, point["Name"]):
            continue
        try:
            remove_volume(container.store, point["Name"])
        except (NotFound, Conflict):
            continue  # gone already, or another container has it by --volumes-from


def _is_anonymous(container: Container, name: str) -> bool:
    try:
        labels = inspect_volume(container.store, name).get("Labels") or {}
    except NotFound:
        return False
    return "com.docker.volume.anonymous" in labels
