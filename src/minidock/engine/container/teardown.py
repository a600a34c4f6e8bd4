"""Teardown: removes everything that a run created in the kernel and in /run.

The monitor calls `tear_down` when its container ends, and so does the repair after a kill -9 or a
reboot. It needs only the store and the container's id, and is idempotent. Order: processes first,
since they keep the rest in use.
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
    """Remove what a run of this container created. Its writable layer stays.

    Raises KernelError if the kernel refuses, for example if a process cannot be killed.
    """
    paths = store.container(container_id)
    group = cgroup_of(store, container_id)
    group.kill_all()
    for place in (paths.merged, paths.shm, paths.space, *_own_mounts(paths.mounts)):
        if os.path.exists(place):
            unmount(place, MNT_DETACH)
    release_volumes(store, container_id)
    group.remove()
    networks.disconnect(store, container_id)  # last: by now the kernel has removed the veth
    remove_tree(store, paths.run)


def _own_mounts(directory: str) -> list[str]:
    """List the mounts prepared for this container: volume subpaths, mounts of a build."""
    try:
        return [f"{directory}/{name}" for name in os.listdir(directory)]
    except FileNotFoundError:
        return []


class PendingRemoval:
    """A container's directory during removal: it leaves the store at once, and is deleted later.

    It is renamed to staging/, where the process that holds the lock of an entry works on it
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
        try:
            os.makedirs(store.staging, mode=0o710, exist_ok=True)
            os.rename(home, self._path)
        except BaseException:
            os.close(self._fd)
            raise

    def remove(self) -> None:
        """Remove it with all its files. Idempotent."""
        if self._fd < 0:
            return
        try:
            remove_tree(self._store, self._path)
        finally:
            os.close(self._fd)
            self._fd = -1
