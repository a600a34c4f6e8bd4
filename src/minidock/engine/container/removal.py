"""Removing a container: its processes, its network, its files, and with -v its anonymous volumes.

A container with damaged documents is removed by its id alone: the kernel knows its monitor as the
holder of a lock; its cgroup, which has the id as its name, its processes; its mounts are below
known paths, and its addresses in the networks' files. Its volumes stay, since they are not known.
"""

from __future__ import annotations

import os
import select

from minidock import document
from minidock.engine.container.containers import Container
from minidock.engine.container.events import emit_container
from minidock.engine.container.name_links import list_names, release_names
from minidock.engine.container.teardown import PendingRemoval, tear_down
from minidock.engine.container.volumes import inspect as inspect_volume
from minidock.engine.container.volumes import remove as remove_volume
from minidock.engine.container.volumes import undo_create
from minidock.engine.image.references import users_of
from minidock.engine.image.removal import collect_garbage
from minidock.engine.store.event_log import emit
from minidock.engine.store.journal import recording_to
from minidock.engine.store.locks import exclusive, owner_of
from minidock.errors import Conflict, DamagedFile, NotFound
from minidock.kernel import process
from minidock.signals import SIGKILL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.paths import ContainerPaths, Store

_MONITOR_SECONDS = 10.0


def remove_owned(container: Container, *, volumes: bool) -> None:
    """Remove a stopped container that we own; an image kept only for it is removed too.

    volumes: with the anonymous volumes that only it uses.
    """
    store = container.store
    with recording_to(container.paths):
        tear_down(store, container.id)
    with exclusive(f"{store.containers}/.lock"):
        rest = PendingRemoval(store, container.id)
        release_names(store, container.id, {container.name})
    if volumes:
        _remove_anonymous_volumes(container)
    emit_container(container, "destroy")
    with document.reporting_skipped():  # the container is removed, even if its image stays
        collect_garbage(store, users_of(store))
    rest.remove()


def remove_incomplete(store: Store, container_id: str) -> None:
    """Remove a directory without container.json (half created or half removed), with its volumes.

    The caller holds the lock of the containers' directory.
    """
    paths = store.container(container_id)
    with recording_to(paths):
        tear_down(store, container_id)
    if os.path.exists(paths.made_volumes):
        text = document.read_bytes(paths.made_volumes).decode("utf-8", "replace")
        for name in text.splitlines():
            undo_create(store, name, container_id)
    release_names(store, container_id, set(list_names(store)))
    PendingRemoval(store, container_id).remove()


def belongs_to(paths: ContainerPaths, path: str) -> bool:
    """Whether a file belongs to this container."""
    return path.startswith((f"{paths.home}/", f"{paths.run}/"))


def remove_damaged(store: Store, container_id: str) -> None:
    """Remove a container with unreadable documents; it may be running.

    Raises KernelError if the kernel refuses, Conflict if its monitor does not end.
    """
    stop_damaged(store, container_id)
    with exclusive(f"{store.containers}/.lock"):
        rest = PendingRemoval(store, container_id)
        release_names(store, container_id, set(list_names(store)))
    emit(store, "container", "destroy", container_id)
    rest.remove()


def stop_damaged(store: Store, container_id: str) -> None:
    """Stop a container by its id alone: its monitor first, which might restart it."""
    _end_monitor(store, container_id)
    tear_down(store, container_id)


def _end_monitor(store: Store, container_id: str) -> None:
    """Kill the monitor of a container with unreadable documents.

    Source: fcntl(2), F_GETLK returns the holder of a lock.
    """
    path = store.container(container_id).monitor_lock
    try:
        monitor = owner_of(path)
        if not monitor:
            return
        pidfd = os.pidfd_open(monitor)
    except (DamagedFile, ProcessLookupError):
        return  # killing the cgroup ends the container, and then the monitor
    try:
        if owner_of(path) == monitor:  # checked again: now the pidfd is the owner's
            process.send_signal(pidfd, SIGKILL, pid=monitor)
        if not select.select([pidfd], [], [], _MONITOR_SECONDS)[0]:
            raise Conflict(f"process {monitor}, the monitor of {container_id[:12]}, does not end")
    finally:
        os.close(pidfd)


def _remove_anonymous_volumes(container: Container) -> None:
    for point in container.document["Mounts"]:
        if point["Type"] != "volume" or not _is_anonymous(container, point["Name"]):
            continue
        with document.reporting_skipped():
            try:
                remove_volume(container.store, point["Name"])
            except (NotFound, Conflict):
                pass  # already removed, or used by another container with --volumes-from


def _is_anonymous(container: Container, name: str) -> bool:
    try:
        labels = inspect_volume(container.store, name).get("Labels") or {}
    except (NotFound, DamagedFile):  # a volume that may have a name stays
        return False
    return "com.docker.volume.anonymous" in labels
