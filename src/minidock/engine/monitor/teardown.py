"""Taking down: everything that a run put into the kernel and into /run is unmade here.

The monitor calls `take_down` when its container ends, and so does the repair after a kill -9 or a
reboot; it needs no more than the store and the container's id, and does nothing where there is
nothing left. Order: processes first, or they would hold the rest.
"""

from __future__ import annotations

import fcntl
import os

from minidock.engine.container.cgroups import cgroup_of
from minidock.engine.network import networks
from minidock.kernel.mount import MNT_DETACH, unmount
from minidock.paths import Store


def take_down(store: Store, container_id: str) -> None:
    """Unmake what a run of this container made. Its own writes stay.

    Raises KernelError where the kernel does not let go, such as a process that cannot be killed.
    """
    paths = store.container(container_id)
    group = cgroup_of(store, container_id)
    group.kill_all()
    for place in (paths.merged, paths.shm):
        if os.path.isdir(place):
            unmount(place, MNT_DETACH)
    group.remove()
    networks.disconnect(store, container_id)  # last: by now the kernel has taken the cable away
    remove_tree(paths.run)


class SetAside:
    """A container's directory on its way out: gone from the store at once, removed in its own time.

    It is renamed into staging/, where whoever holds the lock of an entry is at work in it
    (engine/store.py): if we are killed, the next sweep removes the rest.
    """

    def __init__(self, store: Store, container_id: str) -> None:
        home = store.container(container_id).home
        self._path = f"{store.staging}/removed-{container_id}"
        try:
            self._fd = os.open(home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            self._fd = -1
            return
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        os.makedirs(store.staging, mode=0o710, exist_ok=True)
        os.rename(home, self._path)

    def remove(self) -> None:
        """Remove it, writes and all; nothing happens where it was not there."""
        if self._fd >= 0:
            remove_tree(self._path)
            os.close(self._fd)
            self._fd = -1


def remove_tree(path: str) -> None:
    """Delete a directory and all below it without following links; nothing where it is gone.

    A container may have nested directories to any depth, beyond the longest path and the deepest
    recursion. So what lies deeper is renamed to the top first and deleted there: one level at a
    time, by two descriptors.
    """
    try:
        top = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        waiting = os.listdir(top)
        lifted = 0
        while waiting:
            name = waiting.pop()
            for inner in _remove_or_list(top, name):
                lifted += 1
                outer = f".removing-{os.getpid()}-{lifted}"
                os.rename(f"{name}/{inner}", outer, src_dir_fd=top, dst_dir_fd=top)
                waiting.append(outer)
            _remove_directory(top, name)
    finally:
        os.close(top)
    _remove_directory(None, path)


def _remove_or_list(top: int, name: str) -> list[str]:
    """Delete a file, or the files in a directory; returns the directories in it."""
    if _remove_file(top, name):
        return []
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    directory = os.open(name, flags, dir_fd=top)
    try:
        return [entry for entry in os.listdir(directory) if not _remove_file(directory, entry)]
    finally:
        os.close(directory)


def _remove_file(parent: int, name: str) -> bool:
    """Delete what is not a directory; returns whether it is gone."""
    try:
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        pass
    except IsADirectoryError:
        return False
    return True


def _remove_directory(parent: int | None, name: str) -> None:
    try:
        os.rmdir(name, dir_fd=parent)
    except (FileNotFoundError, NotADirectoryError):
        pass  # it was a file, or another command was clearing the same rubbish
