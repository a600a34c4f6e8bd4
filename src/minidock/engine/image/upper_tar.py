"""Tar headers of an upperdir's files, in Docker's format.

A whiteout becomes a ".wh." file, an opaque directory contains ".wh..wh..opq". Times are whole
seconds. Extended attributes are kept, except overlayfs's own and the labels of the host's security
modules.

A regular file named ".wh.x" is refused, since every reader would take it for a whiteout (Docker
commits it, but then cannot save the image). The caller skips sockets, as Docker does.

Source: OCI image-spec layer.md; moby pkg/archive.
"""

from __future__ import annotations

import os
import stat

from minidock.engine.image.whiteout import OPAQUE_WHITEOUT, WHITEOUT
from minidock.errors import Conflict
from minidock.oci import tar_header as tar
from minidock.oci import tar_writer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.engine.image.upper_walk import Entry

_PATH_MAX = 4095  # of path_resolution(7): open(2) fails for a longer path


def check_name(entry: Entry) -> None:
    """Raise Conflict for a file whose name a layer cannot represent."""
    if entry.path.rpartition(b"/")[2].startswith(WHITEOUT):
        raise Conflict(
            f"the container has a file {os.fsdecode(entry.path)!r}, "
            "which an image layer cannot represent",
            hint="names that begin with .wh. mark deleted files in layers: rename it",
        )
    if len(entry.path) > _PATH_MAX:
        raise Conflict(
            f"the container has a file whose path has {len(entry.path)} bytes; the limit is "
            f"{_PATH_MAX}: {os.fsdecode(entry.path[:60])}…",
        )


def header(entry: Entry, *, link: bytes = b"", xattrs: dict[bytes, bytes] | None = None) -> bytes:
    """The header blocks of a file; for an opaque directory, also its ".wh..wh..opq" entry."""
    kind = tar.KIND_OF[stat.S_IFMT(entry.status.st_mode)]
    blocks = _header(entry, kind, link, xattrs)
    if entry.opaque:
        blocks += tar_writer.header(entry.path + b"/" + OPAQUE_WHITEOUT, mode=0o755)
    return blocks


def hard_link(entry: Entry, first: bytes) -> bytes:
    """The header of a hard link to the entry `first`."""
    return _header(entry, tar.HARD_LINK, first, None)


def whiteout(entry: Entry) -> bytes:
    """The header of a whiteout: a removed file of a lower layer."""
    directory, slash, name = entry.path.rpartition(b"/")
    path = directory + slash + WHITEOUT + name
    return tar_writer.header(path, mode=0o600, mtime_seconds=seconds(entry))


def seconds(entry: Entry) -> int:
    """A file's modification time in whole seconds, at least 0."""
    return max(0, entry.status.st_mtime_ns // 1_000_000_000)


def _header(entry: Entry, kind: int, link: bytes, xattrs: dict[bytes, bytes] | None) -> bytes:
    status = entry.status
    return tar_writer.header(
        entry.path,
        kind,
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        size_bytes=status.st_size if kind == tar.REGULAR else 0,
        mtime_seconds=seconds(entry),
        link=link,
        device=(os.major(status.st_rdev), os.minor(status.st_rdev)),
        xattrs=xattrs,
    )
