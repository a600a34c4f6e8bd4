"""Finding containers by name or id, and listing them, with a state that agrees with the kernel.

A container runs as long as its monitor; if the monitor dies (kill -9, a crash, a reboot), the
container ends too. Each lookup here first repairs the document (repair.py).
"""

from __future__ import annotations

import os
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
    """Find a container by its name, its id, or a unique prefix of its id.

    Raises NotFound, DamagedFile, and Conflict if several ids have this prefix.
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
    """Find a container, and wait until it is neither starting nor being torn down.

    After a timeout it is returned in its current state.
    Raises NotFound, also for one that is being removed.
    """
    deadline = time.monotonic() + _SETTLING_SECONDS
    while True:
        container = find(store, reference)
        if container.running or not container.monitor_pid or time.monotonic() > deadline:
            return container
        time.sleep(0.005)
        reference = container.id  # its name may be reassigned


def list_containers(store: Store) -> list[Container]:
    """List all containers, newest first. Removes those that a killed command left incomplete.

    Containers with damaged documents are skipped.
    """
    sweep(store)
    found = []
    for container in [Container(store, content) for content in list_documents(store)]:
        if _repair_or_report(container):
            found.append(container)
    sweep_names(store, found)
    found.sort(key=lambda container: str(container.document["Created"]), reverse=True)
    return found


def _repair_or_report(container: Container) -> bool:
    """Repair a container; returns whether it still exists, and is not damaged."""
    with document.reporting_skipped() as skipped:
        return not remove_orphaned_step(container) and repair(container)
    return not isinstance(skipped.error, DamagedFile) and os.path.exists(container.paths.document)
