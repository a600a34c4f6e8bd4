"""What the tar archive of a container's own layer says of each file: headers, in Docker's form.

Whiteouts are ".wh." files again, an opaque directory holds ".wh..wh..opq". Times are whole seconds.
Of extended attributes all go along but overlayfs's own and the labels of the host's security
modules.

What a layer cannot hold: a file that is really called ".wh.x" is refused, since every reader would
take it for a whiteout (Docker makes an image of it, which it cannot save). Sockets are for the
caller to leave out, as Docker does.

Source: OCI image-spec layer.md; moby pkg/archive.
"""

from __future__ import annotations

import os
import stat

from minidock.engine.image.unpack import OPAQUE_WHITEOUT, WHITEOUT
from minidock.errors import Conflict
from minidock.oci import tar_header as tar
from minidock.oci import tar_writer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.engine.image.upper_walk import Entry

_PATH_MAX = 4095  # of path_resolution(7): what is deeper, nobody could open again at once


def check_name(entry: Entry) -> None:
    """Raise Conflict for a file whose name no layer can hold."""
    if entry.path.rpartition(b"/")[2].startswith(WHITEOUT):
        raise Conflict(
            f"the container has a file {os.fsdecode(entry.path)!r}, which an image cannot hold",
            hint="names that begin with .wh. mark deleted files in layers: rename it",
        )
    if len(entry.path) > _PATH_MAX:
        raise Conflict(
            f"the container has a file whose path has {len(entry.path)} bytes, and an image "
            f"holds at most {_PATH_MAX}: {os.fsdecode(entry.path[:60])}…",
        )


def header(entry: Entry, *, link: bytes = b"", xattrs: dict[bytes, bytes] | None = None) -> bytes:
    """The blocks in front of a file's content; for an opaque directory, its mark as well."""
    kind = tar.KIND_OF[stat.S_IFMT(entry.status.st_mode)]
    blocks = _header(entry, kind, link, xattrs)
    if entry.opaque:
        blocks += tar_writer.header(entry.path + b"/" + OPAQUE_WHITEOUT, mode=0o755)
    return blocks


def hard_link(entry: Entry, first: bytes) -> bytes:
    """A further name of a file whose content went in under the name `first`."""
    return _header(entry, tar.HARD_LINK, first, None)


def whiteout(entry: Entry) -> bytes:
    """That a file of the layers below is gone."""
    directory, slash, name = entry.path.rpartition(b"/")
    path = directory + slash + WHITEOUT + name
    return tar_writer.header(path, mode=0o600, mtime_seconds=seconds(entry))


def seconds(entry: Entry) -> int:
    """A file's time, as a layer says it."""
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
