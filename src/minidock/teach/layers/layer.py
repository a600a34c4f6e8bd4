"""One layer on disk: its entries, regardless of other layers.

It follows no symbolic link of a layer. A layer that a container may write to is read through
descriptors, directory by directory; an image's layers never change, so paths are safe there.
Source: Documentation/filesystems/overlayfs.rst.
"""

from __future__ import annotations

import os
import stat

from minidock.engine.image.upper_walk import Entry, Tree
from minidock.engine.image.whiteout import OPAQUE_XATTR

ORIGIN = "trusted.overlay.origin"
REDIRECT = "trusted.overlay.redirect"
METACOPY = "trusted.overlay.metacopy"


class Layer(Tree):
    """One directory of the stack: `with Layer(1, path) as layer:`.

    number: 1 is the lowest. is_live: a container may be writing to it, so no path is looked up
    twice; an image's layers never change. title: what created it. disk: the file that contains it,
    if it is mounted for this process only (--storage-opt size=).
    """

    def __init__(
        self, number: int, path: str, *, is_live: bool = False, title: str = "", disk: str = ""
    ) -> None:
        super().__init__(path)
        self.disk = disk
        self.number = number
        self.is_live = is_live
        self.title = title
        self._bytes = os.fsencode(path)

    @property
    def name(self) -> str:
        """Its name in messages."""
        return "upper" if self.is_live else f"layer {self.number}"

    def entry(self, path: bytes) -> Entry | None:
        """Its entry at a path whose parents are known to be directories, or None."""
        if not path:
            return Entry(path, os.fstat(self._root), opaque=False)
        if self.is_live:
            return super().entry(path)
        whole = self._bytes + b"/" + path
        try:
            status = os.lstat(whole)
        except (FileNotFoundError, NotADirectoryError):
            return None
        opaque = stat.S_ISDIR(status.st_mode) and _xattr(whole, OPAQUE_XATTR.decode()) == b"y"
        return Entry(path, status, opaque=opaque)

    def below(self, path: bytes) -> list[Entry]:
        """Its entries along a path, as far as they exist."""
        found: list[Entry] = []
        parts = path.split(b"/")
        for count in range(1, len(parts) + 1):
            entry = self.entry(b"/".join(parts[:count]))
            if entry is None:
                break
            found.append(entry)
            if not entry.is_directory:
                break
        return found

    def raw(self, path: bytes) -> Entry | None:
        """Its entry at a path, regardless of other layers, or None."""
        found = self.below(path)
        return found[-1] if found and found[-1].path == path else None

    def is_opaque(self, fd: int, path: bytes) -> bool:
        return _xattr(fd, OPAQUE_XATTR.decode()) == b"y"

    def attribute(self, path: bytes, name: str) -> bytes | None:
        """An extended attribute of a file or directory, or None."""
        with self.parent(path) as (fd, base):
            return _xattr(b"/proc/self/fd/%d/%s" % (fd, base), name)


def _xattr(target: int | bytes, name: str) -> bytes | None:
    follow = {} if isinstance(target, int) else {"follow_symlinks": False}
    try:
        return os.getxattr(target, name, **follow)
    except OSError:  # no such attribute, or the file is gone
        return None


class Version:
    """A layer's entry at a path.

    path: in that layer; differs below a redirect. role: "seen", "merged" (a directory merged with
    the one seen), "content" (data of a metadata-only copy-up) or "hidden". hidden_by: the version
    that hides it.
    """

    def __init__(self, layer: Layer, entry: Entry, role: str) -> None:
        self.layer = layer
        self.entry = entry
        self.role = role
        self.hidden_by: Version | None = None

    @property
    def path(self) -> bytes:
        return self.entry.path

    @property
    def host_path(self) -> str:
        """Its path on the host."""
        return f"{self.layer.path}/{os.fsdecode(self.path)}"
