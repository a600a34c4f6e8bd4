"""Whiteouts: how a layer says that files of the layers below it are deleted.

    in a layer's tar archive (OCI)       unpacked, as overlayfs wants it
    .wh.NAME                             NAME: a character device 0/0
    .wh..wh..opq in a directory          the xattr trusted.overlay.opaque=y on the directory, which
                                         hides all that the layers below have in it
    .wh..wh.…                            nothing: AUFS's own files

Sources: OCI image-spec layer.md "Whiteouts"; overlayfs.rst "whiteouts and opaque directories".
"""

from __future__ import annotations

import os
import stat

from minidock.errors import ArchiveError
from minidock.oci import tar_header as tar

WHITEOUT = b".wh."
OPAQUE_WHITEOUT = b".wh..wh..opq"
WHITEOUT_META = b".wh..wh."
OPAQUE_XATTR = b"trusted.overlay.opaque"
OVERLAY_XATTRS = b"trusted.overlay."


def is_whiteout(status: os.stat_result) -> bool:
    """Whether a file is overlayfs's whiteout: a character device 0/0."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def mark_opaque(directory: bytes) -> None:
    """Make a directory hide all that the layers below have in it."""
    os.setxattr(directory, OPAQUE_XATTR, b"y")


def create_whiteout(directory: bytes, base: bytes) -> None:
    """Unpack a whiteout of an archive: `base` is its file name, which begins with ".wh.".

    directory: absolute, with a trailing "/". Raises ArchiveError if it names no file.
    """
    if base == OPAQUE_WHITEOUT:
        mark_opaque(directory)
        return
    if base.startswith(WHITEOUT_META):
        return
    hidden = base[len(WHITEOUT) :]
    if hidden in (b"", b".", b".."):
        raise ArchiveError(f"the whiteout {tar.shown(base)} names no file")
    path = directory + hidden
    try:
        os.mknod(path, stat.S_IFCHR, os.makedev(0, 0))
    except FileExistsError:
        # The layer also has a file of that name, which hides the lower one. A directory would be
        # merged with the lower one, so it becomes opaque.
        if stat.S_ISDIR(os.lstat(path).st_mode):
            mark_opaque(path)
