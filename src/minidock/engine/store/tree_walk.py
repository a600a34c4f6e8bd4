"""Walking a tree that a container may change: by descriptors, without following links.

Each entry is opened relative to the top's descriptor by openat2(2) with RESOLVE_NO_SYMLINKS and
O_PATH. So a directory that is replaced by a link between two calls is skipped, never followed, and
all data of an entry is of one file, even if its name is reused.

Needs no /proc: `cp` works in a root that has none. Source: openat2(2), openat(2) "O_PATH".
"""

from __future__ import annotations

import os
import stat
from errno import ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR, EXDEV

from minidock.errors import KernelError
from minidock.kernel.path import open_beneath

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_GONE = (ENOENT, ENOTDIR, ELOOP, EXDEV)  # removed, replaced, or moved out meanwhile
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def walk_below(
    top: int, *, skip_too_deep: bool = False
) -> Iterator[tuple[str, int, os.stat_result]]:
    """Yield an open directory and all below it: each directory before its entries, by name.

    skip_too_deep: skip entries deeper than the longest path, instead of raising KernelError.
    Yields relative paths ("" for the top), with a descriptor that is closed at the next step.
    """
    waiting = [""]
    while waiting:
        path = waiting.pop()
        try:
            held = open_beneath(top, path or ".", os.O_PATH | os.O_NOFOLLOW)
        except KernelError as error:
            if error.errno in _GONE or (skip_too_deep and error.errno == ENAMETOOLONG):
                continue
            raise
        try:
            status = os.fstat(held)
            names = _names(held) if stat.S_ISDIR(status.st_mode) else []
            yield path, held, status
            waiting += [f"{path}/{name}" if path else name for name in names]
        finally:
            os.close(held)


def open_file_below(top: int, path: str, status: os.stat_result) -> int | None:
    """Open a regular file of a walk for reading; None if its name now means another file."""
    try:
        fd = open_beneath(top, path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except KernelError as error:
        if error.errno in _GONE:
            return None
        raise
    now = os.fstat(fd)
    if stat.S_ISREG(now.st_mode) and (now.st_dev, now.st_ino) == (status.st_dev, status.st_ino):
        return fd
    os.close(fd)
    return None


def open_realpath(path: str, flags: int) -> int:
    """Open a path from realpath(3), without links; a link created since then is refused.

    Raises KernelError ELOOP.
    """
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return open_beneath(root, path.lstrip("/") or ".", flags)
    finally:
        os.close(root)


def size_below(directory: str) -> tuple[int, int]:
    """Count the files below a directory of the store, and their bytes, each inode once.

    Files that vanish meanwhile, or are deeper than the longest path, are not counted.
    """
    try:
        top = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0, 0
    seen: set[tuple[int, int]] = set()
    files = total = 0
    try:
        for _, _, status in walk_below(top, skip_too_deep=True):
            files += not stat.S_ISDIR(status.st_mode)
            inode = (status.st_dev, status.st_ino)
            if not stat.S_ISDIR(status.st_mode) and inode not in seen:
                seen.add(inode)
                total += status.st_size
    finally:
        os.close(top)
    return files, total


def _names(held: int) -> list[str]:
    """List a directory, the last name first."""
    try:
        listed = os.open(".", _DIRECTORY, dir_fd=held)
    except FileNotFoundError:
        return []  # just removed
    try:
        return sorted(os.listdir(listed), reverse=True)
    finally:
        os.close(listed)
