"""Repair: containers whose monitor died, and what a killed command has left behind.

The holder of a lock owns a container (store/locks.py); any process may repair one without an owner.

A monitor that cannot record how its container ended, since another process holds the document's
lock, writes that to its mark: `note_end`. The mark stays while the lock is held: its holder may
still write what it read before the end.
"""

from __future__ import annotations

import os

from minidock import document, jsontext
from minidock.engine.container.containers import Container, load, mark_ended
from minidock.engine.container.events import emit_ended
from minidock.engine.container.name_links import holder_of, list_names, release_names
from minidock.engine.container.teardown import tear_down
from minidock.engine.store import container_json
from minidock.engine.store.container_json import list_ids
from minidock.engine.store.journal import recording_to
from minidock.engine.store.locks import Ownership, exclusive, is_marked
from minidock.engine.store.timestamps import timestamp
from minidock.errors import DamagedFile, NotFound
from minidock.kernel.flock import try_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.document import Shape
    from minidock.document_types.store import EndNote
    from minidock.paths import Store

_END: Shape = {"ExitCode": int, "OOMKilled": bool, "Error": str, "FinishedAt": str}  # of a note


def repair(container: Container) -> bool:
    """Mark a container whose monitor died as exited: with 137, or as noted.

    Returns whether it still exists: one that was run with --rm is removed.
    """
    if not _is_lost(container):
        return True
    ownership = Ownership(container.paths.monitor_lock)
    try:
        if not ownership.take():
            return True  # another process is starting or repairing it
    except FileNotFoundError:
        return False
    try:
        container.reload()
        if not _is_lost(container):
            return True
        with recording_to(container.paths):
            tear_down(container.store, container.id)
        lock = document.open_regular(container.paths.lock, os.O_CREAT | os.O_RDWR)
        try:
            alone = try_lock(lock)
            container.reload()
            if container.running:
                _write_end(container, _noted_end(ownership))
            if alone:
                ownership.clear_mark()
        finally:
            os.close(lock)
        if container.host_config.get("AutoRemove"):
            from minidock.engine.container.removal import remove_owned  # seldom needed

            remove_owned(container, volumes=True)
            return False
        return True
    except (FileNotFoundError, NotFound):  # removed meanwhile
        return False
    finally:
        ownership.release()


def note_end(ownership: Ownership, exit_code: int, *, oom: bool, error: str) -> None:
    """Record how a container ended for the next command, since its document is locked."""
    end = {"ExitCode": exit_code, "OOMKilled": oom, "Error": error, "FinishedAt": timestamp()}
    try:
        ownership.mark(jsontext.dumps(end).encode())
    except OSError:
        pass  # a full disk: the next command finds the mark without a note, and writes 137


def _noted_end(ownership: Ownership) -> EndNote | None:
    """Read what the last owner noted about the end; None if it was killed before."""
    note = ownership.note()
    try:
        return document.parse(note, "monitor.lock", _END) if note else None
    except DamagedFile:
        return None  # the disk was full: the end is unknown


def _write_end(container: Container, end: EndNote | None) -> None:
    if end is not None:
        code, oom = end["ExitCode"], end["OOMKilled"]
        mark_ended(container, code, oom=oom, error=end["Error"], finished_at=end["FinishedAt"])
        return
    code = container.state["ExitCode"] if container.restarting else 137
    emit_ended(container, code, seconds=0, oom=False)
    mark_ended(container, code, error="monitor lost")


def remove_orphaned_step(container: Container) -> bool:
    """Remove the container of a RUN step that never ran, if its build was killed; returns whether.

    The caller has swept staging/: a running build has an entry there.
    """
    build = container.document.get("Build")
    if not build or container.running or container.monitor_pid or os.path.isdir(build["Home"]):
        return False
    ownership = Ownership(container.paths.monitor_lock)
    try:
        if not ownership.take():
            return False
    except FileNotFoundError:
        return True
    from minidock.engine.container.removal import remove_owned  # seldom needed

    try:
        remove_owned(container, volumes=True)
    finally:
        ownership.release()
    return True


def _is_lost(container: Container) -> bool:
    """Whether resources of a run are left although it has no monitor."""
    if not (container.running or is_marked(container.paths.monitor_lock)):
        return False
    return container.monitor_pid == 0


def sweep(store: Store) -> None:
    """Remove containers and volumes that are half created or half removed."""
    for container_id in list_ids(store):
        with document.reporting_skipped():
            remove_garbage(store, container_id)
    if os.path.isdir(store.volumes):
        from minidock.engine.container import volumes  # seldom needed

        for name in volumes.list_garbage(store):
            with document.reporting_skipped():
                volumes.remove_garbage(store, name)
    if os.path.isdir(store.staging) and os.listdir(store.staging):
        from minidock.engine.image.lock import ImagesLock

        with ImagesLock(store):
            pass  # taking the lock sweeps


def remove_garbage(store: Store, container_id: str) -> None:
    """Remove a container's directory if it is half created or half removed."""
    if not container_json.is_garbage(store, container_id):
        return
    with exclusive(f"{store.containers}/.lock"):
        if container_json.is_garbage(store, container_id):
            from minidock.engine.container.removal import remove_incomplete

            remove_incomplete(store, container_id)


def sweep_names(store: Store, found: list[Container]) -> None:
    """Release names without a container, left by an interrupted rename or removal."""
    stale = set(list_names(store)) - {container.name for container in found}
    if not stale:
        return
    with exclusive(f"{store.containers}/.lock"):
        for name in stale:
            target = holder_of(store, name)
            try:
                holder = load(store, target) if target else None
            except DamagedFile:
                continue  # needed to remove it
            if holder is None or holder.name != name:
                release_names(store, target, {name})
