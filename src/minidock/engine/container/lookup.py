"""Containers found by name or id, and listed, each with the state that the kernel agrees to.

A container runs as long as its monitor lives, and a monitor that died (kill -9, a crash, a reboot)
took its container with it. Each lookup here repairs that first (repair.py).
"""

from __future__ import annotations

import time

from minidock import document
from minidock.engine.container.containers import Container, find_id, load
from minidock.engine.container.repair import remove_orphaned_step, repair, sweep, sweep_names
from minidock.engine.store.container_json import list_documents
from minidock.errors import DamagedFile, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.paths import Store

_SETTLING_SECONDS = 10.0


def find(store: Store, reference: str) -> Container:
    """A container by its name, its id, or the beginning of its id that only it has.

    Raises NotFound, DamagedFile, and Conflict where several ids begin so.
    """
    container_id = find_id(store, reference)
    container = load(store, container_id) if container_id else None
    if container is None:
        raise NotFound(f"No such container: {reference}", hint="`minidock ps -a` lists them all")
    repair(container)
    again = load(store, container.id)
    if again is None:
        raise NotFound(f"No such container: {reference}")
    return again


def wait_until_settled(store: Store, reference: str) -> Container:
    """A container that is neither being started nor being cleared away: running, or stopped.

    Where that takes long, it is returned as it is.
    Raises NotFound, also for one that is being removed.
    """
    deadline = time.monotonic() + _SETTLING_SECONDS
    while True:
        container = find(store, reference)
        if container.running or not container.monitor_pid or time.monotonic() > deadline:
            return container
        time.sleep(0.005)
        reference = container.id  # its name may become another's


def list_containers(store: Store) -> list[Container]:
    """All containers, newest first. What a killed command left half made or half removed goes.

    Those whose documents are damaged are passed over.
    """
    sweep(store)
    found = []
    for container in [Container(store, content) for content in list_documents(store)]:
        try:
            if not remove_orphaned_step(container) and repair(container):
                found.append(container)
        except DamagedFile as error:
            document.report_skipped(error)
    sweep_names(store, found)
    found.sort(key=lambda container: str(container.document["Created"]), reverse=True)
    return found
