"""A lab's set-up whose note is gone: its disk, which is a mount, and its image's directory.

The note is written before anything is made, and goes last (teach/lab/fault/session.py). So without
one nothing of a set-up is needed, but for what a container still has mounted.

    lab/fault.json    the note        lab/image   the image's files        lab/disk   a mount

Whoever makes or removes one of these holds the lock of lab/ (`locked`), and reads the note under
it. Nothing else in there is a set-up's, and nothing else is removed.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from functools import partial

from minidock.document import Each
from minidock.engine.leftovers.leftover import Thing
from minidock.engine.store.container_json import documents
from minidock.engine.store.tree_removal import remove_tree
from minidock.errors import DamagedFile
from minidock.kernel.flock import lock_or_close
from minidock.kernel.mount import MNT_DETACH, is_mount_point, unmount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from minidock.paths import Store

NOTE_SHAPE = {"id?": str, "seed": str, "kept": Each(str), "hints": int}
_WHY = "of a lab's set-up, whose note is gone"


@contextmanager
def locked(store: Store) -> Iterator[None]:
    """Hold the lock of lab/, which is made for the block, and removed after it where it is empty.

    Raises LockTimeout.
    """
    fd = _lock_directory(store)
    try:
        yield
    finally:
        with suppress(OSError):  # it is not empty
            os.rmdir(store.lab)
        os.close(fd)


def _lock_directory(store: Store) -> int:
    while True:
        os.makedirs(store.lab, mode=0o700, exist_ok=True)
        with suppress(FileNotFoundError):  # removed by its last holder: make another
            fd = os.open(store.lab, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            lock_or_close(fd, store.lab)
            if _is_same(fd, store.lab):
                return fd
            os.close(fd)


def _is_same(fd: int, path: str) -> bool:
    """Whether a path still names the directory that is open."""
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False


def lab(store: Store) -> Iterator[Thing]:
    """The disk of a set-up that is no more, and its directories."""
    parts = f"{store.lab}/disk", f"{store.lab}/image"
    if os.path.lexists(store.lab_note) or not any(map(os.path.lexists, parts)):
        return
    if _are_mounted_somewhere(store, parts):
        return
    for path in filter(os.path.lexists, parts):
        if is_mount_point(path):
            unmounted = partial(_unmount, store, path)
            yield Thing("mount", path, owner="", why=_WHY, remove=unmounted)
        yield Thing("directory", path, owner="", why=_WHY, remove=partial(_remove, store, path))


def _are_mounted_somewhere(store: Store, paths: tuple[str, ...]) -> bool:
    """Whether a container has one of them, or something in it, for a source of a mount."""
    try:
        everyone = documents(store, strictly=True)
    except DamagedFile:
        return True  # nobody knows
    sources = [point.get("Source", "") for each in everyone for point in each["Mounts"]]
    return any(f"{source}/".startswith(f"{path}/") for source in sources for path in paths)


def _unmount(store: Store, path: str) -> None:
    """Unmount the disk of a set-up whose note is gone."""
    with locked(store):
        if not os.path.lexists(store.lab_note) and is_mount_point(path):
            unmount(path, MNT_DETACH)


def _remove(store: Store, path: str) -> None:
    """Remove a directory of a set-up whose note is gone."""
    with locked(store):
        if not os.path.lexists(store.lab_note):  # it may be another set-up's by now
            remove_tree(store, path)
