"""An image's layers, looked into without being mounted.

A path is followed part by part as overlayfs would show it: the topmost layer that has an entry of
that name wins, a whiteout (a character device 0/0) ends the search, and a directory that hides all
below it ends the merging of directories. Links are followed within the tree.

Source: Documentation/filesystems/overlayfs.rst.
"""

from __future__ import annotations

import os
import stat
from errno import ELOOP, ENOENT, ENOTDIR

from minidock.errors import KernelError

_MOST_LINKS = 40  # as the kernel allows in one path
_OPAQUE = ("trusted.overlay.opaque", "user.overlay.opaque")


class Layers:
    """A root file system that is not mounted.

    directories: the layers', topmost first.
    """

    def __init__(self, directories: list[str]) -> None:
        self._directories = directories

    def open(self, path: str) -> int:
        """An O_PATH descriptor of a file. Raises KernelError: ENOENT, ENOTDIR, ELOOP."""
        return os.open(self._find(path)[0], os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)

    def mode(self, path: str) -> int | None:
        """The type and permission bits of a path, None where there is nothing."""
        try:
            return os.lstat(self._find(path)[0]).st_mode
        except KernelError:
            return None

    def resolve(self, path: str) -> str:
        """A path without links in it; what is nowhere stays as it is written."""
        return "/" + "/".join(name for name, _ in self._walk(path, missing=True)[1:])

    def _find(self, path: str) -> list[str]:
        """The places of a path in the layers, the one that is seen first."""
        return self._walk(path)[-1][1]

    def _walk(self, path: str, *, missing: bool = False) -> list[tuple[str, list[str]]]:
        """The way to a path: each part's name, and its places in the layers, topmost first.

        missing: parts that are nowhere are no error.
        """
        at: list[tuple[str, list[str]]] = [("", self._directories)]  # the way from the root
        waiting = [part for part in reversed(path.split("/")) if part not in ("", ".")]
        links = _MOST_LINKS
        while waiting:
            part = waiting.pop()
            if part == "..":
                at = at[:-1] or at
                continue
            found = _entries(at[-1][1], part)
            if not found and missing:
                at.append((part, []))
                continue
            if not found:
                raise KernelError("openat2(2)", path, ENOENT)
            mode = os.lstat(found[0]).st_mode
            if stat.S_ISLNK(mode):
                links -= 1
                if not links:
                    raise KernelError("openat2(2)", path, ELOOP)
                target = os.readlink(found[0])
                at = at[:1] if target.startswith("/") else at
                waiting += [p for p in reversed(target.split("/")) if p not in ("", ".")]
            elif waiting and not stat.S_ISDIR(mode):
                raise KernelError("openat2(2)", path, ENOTDIR)
            else:
                at.append((part, found))
        return at


def _entries(directories: list[str], name: str) -> list[str]:
    """The entries of a name, topmost first; of directories, all that are merged."""
    found: list[str] = []
    for directory in directories:
        place = f"{directory}/{name}"
        try:
            status = os.lstat(place)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            continue  # the last: a layer that only root may look into
        whiteout = stat.S_ISCHR(status.st_mode) and status.st_rdev == 0
        if whiteout or (found and not stat.S_ISDIR(status.st_mode)):
            break
        found.append(place)
        if not stat.S_ISDIR(status.st_mode) or _hides(place):
            break
    return found


def _hides(directory: str) -> bool:
    for name in _OPAQUE:
        try:
            if os.getxattr(directory, name, follow_symlinks=False) == b"y":
                return True
        except OSError:
            continue
    return False
