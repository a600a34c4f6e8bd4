"""Headers of the tar archives that `save` and `commit` write.

A plain ustar header if it suffices; otherwise with a PAX header before it for long names, large
numbers and extended attributes, by the keys that Docker's layers use. Times are whole seconds, as
in Docker's layers.

Sources: POSIX pax "ustar Interchange Format"; tar(5) of libarchive for SCHILY.xattr.
"""

from __future__ import annotations

import struct

from minidock.oci.tar_header import BLOCK, DIRECTORY, REGULAR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

END = bytes(2 * BLOCK)
_HEADER = struct.Struct("100s8s8s8s12s12s8sc100s6s2s32s32s8s8s155s12x")
_PAX = ord("x")
_FIELD_MAX = {8: 0o7777777, 12: 0o77777777777}


def header(
    name: bytes,
    kind: int = REGULAR,
    *,
    mode: int = 0o644,
    uid: int = 0,
    gid: int = 0,
    size_bytes: int = 0,
    mtime_seconds: int = 0,
    link: bytes = b"",
    device: tuple[int, int] = (0, 0),
    xattrs: Mapping[bytes, bytes] | None = None,
) -> bytes:
    """Encode the blocks before a file's content in an archive.

    name: relative; a directory's name gets a "/" here. device: major and minor number.
    """
    if kind == DIRECTORY:
        name += b"/"
    records = {b"SCHILY.xattr." + key: value for key, value in (xattrs or {}).items()}
    if len(name) > 100:
        records[b"path"] = name
    if len(link) > 100:
        records[b"linkpath"] = link
    numbers = ((b"size", size_bytes, 12), (b"mtime", mtime_seconds, 12))
    for key, number, width in (*numbers, (b"uid", uid, 8), (b"gid", gid, 8)):
        if not 0 <= number <= _FIELD_MAX[width]:
            records[key] = b"%d" % number
    block = _block(name, kind, mode, uid, gid, size_bytes, mtime_seconds, link, device)
    return _pax(name, records) + block


def padding(size_bytes: int) -> bytes:
    """Return the zeros that pad the last block of a content."""
    return bytes(-size_bytes % BLOCK)


def _pax(name: bytes, records: dict[bytes, bytes]) -> bytes:
    """Encode a PAX header with some records; b"" without records."""
    if not records:
        return b""
    content = b"".join(_record(key, records[key]) for key in sorted(records))
    folder, _, base = name.rstrip(b"/").rpartition(b"/")
    pax_name = (folder + b"/PaxHeaders.0/" + base).lstrip(b"/")[:100]
    return _block(pax_name, _PAX, 0o644, 0, 0, len(content), 0, b"", (0, 0)) + (
        content + padding(len(content))
    )


def _record(key: bytes, value: bytes) -> bytes:
    """Encode "LENGTH KEY=VALUE\\n", in which the length includes its own digits."""
    rest = b" " + key + b"=" + value + b"\n"
    length = len(rest)
    while len(rest) + len(b"%d" % length) != length:
        length = len(rest) + len(b"%d" % length)
    return b"%d" % length + rest


def _block(
    name: bytes,
    kind: int,
    mode: int,
    uid: int,
    gid: int,
    size_bytes: int,
    mtime_seconds: int,
    link: bytes,
    device: tuple[int, int],
) -> bytes:
    """Encode a ustar header block; what does not fit is truncated here, complete in PAX."""
    fields = [
        name[:100],
        _octal(mode, 8),
        _octal(uid, 8),
        _octal(gid, 8),
        _octal(size_bytes, 12),
        _octal(mtime_seconds, 12),
        b"        ",
        bytes((kind,)),
        link[:100],
        b"ustar\0",
        b"00",
        b"",
        b"",
        _octal(device[0], 8),
        _octal(device[1], 8),
        b"",
    ]
    checksum = sum(_HEADER.pack(*fields))
    fields[6] = b"%06o\0 " % checksum
    return _HEADER.pack(*fields)


def _octal(number: int, width: int) -> bytes:
    return b"%0*o\0" % (width - 1, number if 0 <= number <= _FIELD_MAX[width] else 0)
