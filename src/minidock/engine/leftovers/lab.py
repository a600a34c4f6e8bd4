"""Find what is left of a lab set-up (`lab fault`) without a fault.json: its disk and its image.

    lab/fault.json    the note        lab/image   the image's files        lab/disk   a mount

The note is written before anything is created and removed last (teach/lab/fault/session.py). So
without a note the rest is unused, unless a container still has it mounted.

A process that creates or removes one of these holds the lock of lab/ (`lab_lock`), and reads the
note under it. Nothing else in lab/ is removed.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from functools import partial

from minidock.document import Each
from minidock.engine.leftovers.leftover import Leftover
from minidock.engine.store.container_json import list_documents
from minidock.engine.store.tree_removal import remove_tree
from minidock.errors import DamagedFile
from minidock.kernel.flock import lock_or_close
from minidock.kernel.mount import MNT_DETACH, unmount
from minidock.kernel.mountinfo import is_mount_point

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from minidock.document import Shape
    from minidock.paths import Store

NOTE_SHAPE: Shape = {"id?": str, "seed": str, "kept": Each(str), "hints": int}
_WHY = "of a lab set-up that has no fault.json"


@contextmanager
def lab_lock(store: Store) -> Iterator[None]:
    """Hold the lock of lab/ during the block; create lab/ before it, and remove it after if empty.

    Raises LockTimeout.
    """
    fd = _lock_directory(store)
    try:
        yield
    finally:
        with suppress(OSError):  # not empty
            os.rmdir(store.lab)
        os.close(fd)


def _lock_directory(store: Store) -> int:
    while True:
        os.makedirs(store.lab, mode=0o700, exist_ok=True)
        with suppress(FileNotFoundError):  # removed by its last holder: create it again
            fd = os.open(store.lab, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            lock_or_close(fd, store.lab)
            if _is_same(fd, store.lab):
                return fd
            os.close(fd)


def _is_same(fd: int, path: str) -> bool:
    """Whether a path still names the open directory."""
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False


def find_lab_files(store: Store) -> Iterator[Leftover]:
    """Find the disk and the image directory of a set-up that has no note."""
    parts = f"{store.lab}/disk", f"{store.lab}/image"
    if os.path.lexists(store.lab_note) or not any(map(os.path.lexists, parts)):
        return
    if _is_any_mounted(store, parts):
        return
    for path in filter(os.path.lexists, parts):
        if is_mount_point(path):
            unmounted = partial(_unmount, store, path)
            yield Leftover("mount", path, owner="", why=_WHY, remove=unmounted)
        yield Leftover("directory", path, owner="", why=_WHY, remove=partial(_remove, store, path))


def _is_any_mounted(store: Store, paths: tuple[str, ...]) -> bool:
    """Whether a container mounts one of these paths, or a path below."""
    try:
        containers = list_documents(store, strictly=True)
    except DamagedFile:
        return True  # the damaged document might mount one
    sources = [point.get("Source", "") for each in containers for point in each["Mounts"]]
    return any(f"{source}/".startswith(f"{path}/") for source in sources for path in paths)


def _unmount(store: Store, path: str) -> None:
    """Unmount the disk of a lab set-up that has no note."""
    with lab_lock(store):
        if not os.path.lexists(store.lab_note) and is_mount_point(path):
            unmount(path, MNT_DETACH)


def _remove(store: Store, path: str) -> None:
    """Remove a directory of a lab set-up that has no note."""
    with lab_lock(store):
        if not os.path.lexists(store.lab_note):  # a new set-up may use it by now
            remove_tree(store, path)
