"""Taking down: everything that a run put into the kernel and into /run is unmade here.

The monitor calls `tear_down` when its container ends, and so does the repair after a kill -9 or a
reboot; it needs no more than the store and the container's id, and does nothing where there is
nothing left. Order: processes first, or they would hold the rest.
"""

from __future__ import annotations

import os

from minidock.engine.container.cgroups import cgroup_of
from minidock.engine.container.volume_mounts import release_volumes
from minidock.engine.network import networks
from minidock.engine.store.tree_removal import remove_tree
from minidock.kernel.flock import lock_or_close
from minidock.kernel.mount import MNT_DETACH, unmount
from minidock.paths import Store


def tear_down(store: Store, container_id: str) -> None:
    """Unmake what a run of this container made. Its own writes stay.

    Raises KernelError where the kernel does not let go, such as a process that cannot be killed.
    """
    paths = store.container(container_id)
    group = cgroup_of(store, container_id)
    group.kill_all()
    for place in (paths.merged, paths.shm, paths.space, *_own_mounts(paths.mounts)):
        if os.path.exists(place):
            unmount(place, MNT_DETACH)
    release_volumes(store, container_id)
    group.remove()
    networks.disconnect(store, container_id)  # last: by now the kernel has taken the cable away
    remove_tree(store, paths.run)


def _own_mounts(directory: str) -> list[str]:
    """What was mounted to be bound into this container: parts of volumes, what a build shows it."""
    try:
        return [f"{directory}/{name}" for name in os.listdir(directory)]
    except FileNotFoundError:
        return []


class PendingRemoval:
    """A container's directory on its way out: gone from the store at once, removed in its own time.

    It is renamed into staging/, where whoever holds the lock of an entry is at work in it
    (engine/store/store.py): if we are killed, the next sweep removes the rest.
    Raises LockTimeout.
    """

    def __init__(self, store: Store, container_id: str) -> None:
        self._store = store
        home = store.container(container_id).home
        self._path = f"{store.staging}/removed-{container_id}"
        try:
            self._fd = os.open(home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            self._fd = -1
            return
        lock_or_close(self._fd, home)
        os.makedirs(store.staging, mode=0o710, exist_ok=True)
        os.rename(home, self._path)

    def remove(self) -> None:
        """Remove it, writes and all; nothing happens where it was not there."""
        if self._fd >= 0:
            remove_tree(self._store, self._path)
            os.close(self._fd)
            self._fd = -1
