"""`rm`: remove containers; with force also running and damaged ones."""

from __future__ import annotations

import time

from minidock.engine.container.containers import Container, find_id
from minidock.engine.container.lookup import wait_until_settled
from minidock.engine.container.removal import belongs_to, remove_damaged, remove_owned
from minidock.engine.lifecycle.kill import KILL_SECONDS, DidNotEnd, kill_container
from minidock.engine.store.locks import Ownership
from minidock.errors import Conflict, DamagedFile, NotFound
from minidock.signals import SIGKILL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.paths import Store


def remove(store: Store, reference: str, *, force: bool = False, volumes: bool = False) -> None:
    """Remove a container. volumes: with its anonymous volumes. force: kill it first.

    With force, a container with damaged documents is removed too, with its processes and files.
    Raises Conflict for a running container without force.
    """
    try:
        _remove_intact(store, reference, force=force, volumes=volumes)
    except DamagedFile as error:
        container_id = find_id(store, reference)
        if not container_id or not belongs_to(store.container(container_id), error.path):
            raise
        if not force:
            error.hint = f"minidock rm -f {reference}     removes the container\n{error.hint}"
            raise
        remove_damaged(store, container_id)


def _remove_intact(store: Store, reference: str, *, force: bool, volumes: bool) -> None:
    container = wait_until_settled(store, reference)
    deadline = time.monotonic() + KILL_SECONDS
    ownership = Ownership(container.paths.monitor_lock)
    try:
        while not _lock_stopped(container, ownership, force=force):
            if time.monotonic() > deadline:
                raise Conflict(
                    f"container {container.name} is in use by process {container.monitor_pid}",
                    hint="it is being started, run or removed",
                )
            container = wait_until_settled(store, container.id)
        remove_owned(container, volumes=volumes)
    except (FileNotFoundError, NotFound):
        if force and container.host_config.get("AutoRemove"):
            return  # its monitor has removed it
        raise NotFound(f"No such container: {reference}") from None
    finally:
        ownership.release()


def _lock_stopped(container: Container, ownership: Ownership, *, force: bool) -> bool:
    """Lock a stopped container, so that no command starts it; returns whether that succeeded.

    force: kill a running one first.
    """
    if container.running and not force:
        how = container.state["Status"]  # running, paused, restarting
        raise Conflict(
            f'cannot remove container "/{container.name}": container is {how}',
            hint="stop the container before removing or force remove",
        )
    if container.running:
        try:
            kill_container(container, SIGKILL)
        except DidNotEnd:
            raise
        except Conflict:
            pass  # it has exited meanwhile
    if not ownership.take():
        return False
    container.reload()
    return True
