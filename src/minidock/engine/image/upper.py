"""A container's overlay upperdir, without mount point stubs.

The start of a container makes missing mount points in its upperdir; a walk skips these stubs.
Docker keeps them in an "init layer" below the upperdir, so its diff and commit do not show them
either.

Source: moby daemon/initlayer/setup_unix.go; overlayfs.rst.
"""

from __future__ import annotations

import os
import stat

from minidock.engine.image.upper_walk import Entry, Tree
from minidock.engine.image.whiteout import OPAQUE_XATTR, is_whiteout
from minidock.errors import StoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

INIT_DIRECTORIES = frozenset((b"dev", b"dev/pts", b"dev/shm", b"etc", b"proc", b"sys"))
INIT_FILES = frozenset(
    (
        b".dockerenv",
        b"dev/console",
        b"etc/hostname",
        b"etc/hosts",
        b"etc/mtab",
        b"etc/resolv.conf",
    )
)
_REDIRECTS = ("trusted.overlay.redirect", "trusted.overlay.metacopy")


class Upper(Tree):
    """An upperdir, open for reading: `with Upper(path, lowers) as upper:`.

    lowers: the directories of the image's layers, lowest first.
    """

    def __init__(self, path: str, lowers: Sequence[str]) -> None:
        super().__init__(path)
        self._lowers = [os.fsencode(lower) for lower in reversed(lowers)]

    def passes_over(self, entry: Entry) -> bool:
        """Whether an entry is a mount point stub, or a directory with nothing but stubs."""
        status = entry.status
        if entry.path in INIT_FILES:
            is_empty_file = stat.S_ISREG(status.st_mode) and not status.st_size
            return is_empty_file and self._in_image(entry.path) is None
        if entry.path not in INIT_DIRECTORIES or not entry.is_directory or entry.opaque:
            return False
        old = self._in_image(entry.path) or status
        if (old.st_mode, old.st_uid, old.st_gid) != (status.st_mode, status.st_uid, status.st_gid):
            return False
        for name in self.names(entry.path):
            inner = self.entry(entry.path + b"/" + name)
            if inner is not None and not self.passes_over(inner):
                return False
        return True

    def is_opaque(self, fd: int, path: bytes) -> bool:
        names = os.listxattr(fd)
        if any(name in names for name in _REDIRECTS):
            raise StoreError(
                f"{path!r} of the container was renamed by overlayfs's redirect_dir, which "
                "an image layer cannot represent",
                hint="echo N > /sys/module/overlay/parameters/redirect_dir; restart the container",
            )
        opaque = OPAQUE_XATTR.decode()
        return opaque in names and os.getxattr(fd, opaque) == b"y"

    def _in_image(self, path: bytes) -> os.stat_result | None:
        """The lstat of a path in the image; None if it is missing or whited out."""
        for lower in self._lowers:
            try:
                status = os.lstat(lower + b"/" + path)
            except (FileNotFoundError, NotADirectoryError):
                continue
            return None if is_whiteout(status) else status
        return None
