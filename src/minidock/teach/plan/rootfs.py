"""An image's layers, looked into without being mounted: as open(2) and stat(2) would see them.

What overlayfs makes of layers, layers/stack.py knows. Here links are followed to the end, as a
process inside would, and within the tree; and a path that is not there yet can be resolved as far
as it is.

Source: path_resolution(7).
"""

from __future__ import annotations

import os
import stat
from errno import ELOOP, ENOENT, ENOTDIR

from minidock.errors import KernelError
from minidock.teach.layers.layer import Layer
from minidock.teach.layers.stack import Stack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.teach.layers.layer import Version

_LINKS_MAX = 40  # as the kernel allows in one path


class Layers:
    """A root file system that is not mounted.

    directories: the layers', topmost first. Those that cannot be looked into have nothing.
    """

    def __init__(self, directories: list[str]) -> None:
        seen = [path for path in directories if os.access(path, os.R_OK | os.X_OK)]
        self._layers = [Layer(number, path) for number, path in enumerate(reversed(seen), start=1)]
        self._layers.reverse()

    def open(self, path: str) -> int:
        """An O_PATH descriptor of a file. Raises KernelError: ENOENT, ENOTDIR, ELOOP."""
        return os.open(self._find(path), os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)

    def mode(self, path: str) -> int | None:
        """The type and permission bits of a path, None where there is nothing."""
        found = self.stat(path)
        return found.st_mode if found else None

    def stat(self, path: str) -> os.stat_result | None:
        """What stat(2) would say of a path, None where there is nothing."""
        try:
            return os.lstat(self._find(path))
        except KernelError:
            return None

    def resolve(self, path: str) -> str:
        """A path without links in it; what is nowhere stays as it is written."""
        with Stack(self._layers) as stack:
            return "/" + "/".join(name for name, _ in _walk(stack, path, missing=True)[1:])

    def _find(self, path: str) -> str:
        """Where on the host a file lies."""
        with Stack(self._layers) as stack:
            way = _walk(stack, path, missing=False)
        if not way[-1][1]:
            raise KernelError("openat2(2)", path, ENOENT)
        return way[-1][1][0].host_path


def _walk(stack: Stack, path: str, *, missing: bool) -> list[tuple[str, list[Version]]]:
    """The way to a path: each part's name, and its versions that count, topmost first.

    missing: parts that are nowhere are no error.
    """
    visible, _ = stack.resolve([(layer, b"") for layer in stack.layers], b"")
    way = [("", visible)]
    waiting = _parts(path)
    links = _LINKS_MAX
    while waiting:
        part = waiting.pop()
        if part == "..":
            way = way[:-1] or way
            continue
        parents = [(version.layer, version.path) for version in way[-1][1]]
        found, _ = stack.resolve(parents, os.fsencode(part))
        if not found and not missing:
            raise KernelError("openat2(2)", path, ENOENT)
        mode = os.lstat(found[0].host_path).st_mode if found else 0
        if stat.S_ISLNK(mode):
            links -= 1
            if not links:
                raise KernelError("openat2(2)", path, ELOOP)
            target = os.readlink(found[0].host_path)
            way = way[:1] if target.startswith("/") else way
            waiting += _parts(target)
        elif waiting and found and not stat.S_ISDIR(mode):
            raise KernelError("openat2(2)", path, ENOTDIR)
        else:
            way.append((part, found))
    return way


def _parts(path: str) -> list[str]:
    """A path's parts, the last first."""
    return [part for part in reversed(path.split("/")) if part not in ("", ".")]
