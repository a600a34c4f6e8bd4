"""Taking down: everything that a run put into the kernel and into /run is unmade here.

The monitor calls `take_down` when its container ends, and so does the repair after a kill -9 or a
reboot; it needs no more than the store and the container's id, and does nothing where there is
nothing left. Order: processes first, or they would hold the mounts; then network, mounts, cgroup.
"""

from __future__ import annotations

import os

from minidock.engine import networks
from minidock.kernel.cgroup import open_cgroup
from minidock.kernel.mount import MNT_DETACH, unmount
from minidock.paths import Store


def take_down(store: Store, container_id: str) -> None:
    """Unmake what a run of this container made. Its own writes stay.

    Raises KernelError where the kernel does not let go, such as a process that cannot be killed.
    """
    paths = store.container(container_id)
    group = open_cgroup(store.cgroup_parent, container_id)
    group.kill_all()
    networks.disconnect(store, container_id)
    if os.path.isdir(paths.merged):
        unmount(paths.merged, MNT_DETACH)
    group.remove()
    remove_tree(paths.run)


def remove_home(store: Store, container_id: str) -> None:
    """Remove a container's directory in the store, writes and all."""
    remove_tree(store.container(container_id).home)


def remove_tree(path: str) -> None:
    """Delete a directory and all below it without following links; nothing where it is gone.

    By file descriptors, so that a name swapped for a link meanwhile leads nowhere else.
    """
    try:
        parent = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        _remove_entry(parent, os.path.basename(path))
    finally:
        os.close(parent)


def _remove_entry(parent: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=parent)
        return
    except FileNotFoundError:
        return
    except IsADirectoryError:
        pass
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    directory = os.open(name, flags, dir_fd=parent)
    try:
        for entry in os.listdir(directory):
            _remove_entry(directory, entry)
    finally:
        os.close(directory)
    try:
        os.rmdir(name, dir_fd=parent)
    except FileNotFoundError:
        pass  # another command was clearing the same rubbish
