"""Walking through files that a container may be changing: by descriptors, no link followed.

Each entry is reached from the top's descriptor by openat2(2) with RESOLVE_NO_SYMLINKS, and held by
O_PATH while it is looked at. So a directory that is exchanged for a link between two calls is
passed over, and never led through; what is seen of an entry is of one file, whatever its name means
by then.

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

_GONE = (ENOENT, ENOTDIR, ELOOP, EXDEV)  # removed, exchanged, or moved out meanwhile
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def walk_below(
    top: int, *, skip_too_deep: bool = False
) -> Iterator[tuple[str, int, os.stat_result]]:
    """All below an open directory, itself first, each directory before what is in it, by name.

    skip_too_deep: leave out what is deeper than the longest path, instead of raising KernelError.
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
    """Open a regular file that was met on a walk, for reading; None where it is another by now."""
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
    """Open a path that has no link in it, as realpath(3) gives it; one that came since is refused.

    Raises KernelError ELOOP.
    """
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return open_beneath(root, path.lstrip("/") or ".", flags)
    finally:
        os.close(root)


def size_below(directory: str) -> tuple[int, int]:
    """How many files are below a directory of the store, and their bytes, each inode once.

    What has gone meanwhile, and what is deeper than the longest path, weighs nothing.
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
    """What is in a directory, the last name first."""
    try:
        listed = os.open(".", _DIRECTORY, dir_fd=held)
    except FileNotFoundError:
        return []  # it has just been removed
    try:
        return sorted(os.listdir(listed), reverse=True)
    finally:
        os.close(listed)
