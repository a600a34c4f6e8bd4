"""open(2) and stat(2) in an image's layers, without mounting them.

layers/stack.py merges the layers as overlayfs does. This module resolves symbolic links within the
root, as for a process inside, and resolves a path that does not exist yet as far as it exists.

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

    directories: of the layers, topmost first. Unreadable ones count as empty.
    """

    def __init__(self, directories: list[str]) -> None:
        seen = [path for path in directories if os.access(path, os.R_OK | os.X_OK)]
        self._layers = [Layer(number, path) for number, path in enumerate(reversed(seen), start=1)]
        self._layers.reverse()

    def open(self, path: str) -> int:
        """An O_PATH descriptor of a file. Raises KernelError: ENOENT, ENOTDIR, ELOOP."""
        return os.open(self._find(path), os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)

    def mode(self, path: str) -> int | None:
        """The type and permission bits of a path, None if it does not exist."""
        found = self.stat(path)
        return found.st_mode if found else None

    def stat(self, path: str) -> os.stat_result | None:
        """The result of stat(2) for a path, None if it does not exist."""
        try:
            return os.lstat(self._find(path))
        except KernelError:
            return None

    def resolve(self, path: str) -> str:
        """Resolve the symbolic links of a path; missing parts stay as they are."""
        with Stack(self._layers) as stack:
            return "/" + "/".join(name for name, _ in _walk(stack, path, missing=True)[1:])

    def _find(self, path: str) -> str:
        """The host's path of a file."""
        with Stack(self._layers) as stack:
            way = _walk(stack, path, missing=False)
        if not way[-1][1]:
            raise KernelError("openat2(2)", path, ENOENT)
        return way[-1][1][0].host_path


def _walk(stack: Stack, path: str, *, missing: bool) -> list[tuple[str, list[Version]]]:
    """Walk to a path: each part's name, and its visible versions, topmost first.

    missing: missing parts are not an error.
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
    """A path's components, the last first."""
    return [part for part in reversed(path.split("/")) if part not in ("", ".")]
