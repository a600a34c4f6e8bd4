"""tar-split: store a layer's tar archive without file contents, and rebuild it byte for byte.

`save` and `push` need each layer as the original archive, with the same digest. The files do not
determine the archive: it also has an order of entries, padding, user names, and several formats of
long names. So unpacking writes everything except file contents to `tar-split.z` (the idea and the
name are Docker's):

    byte "B", length:u32, bytes             headers, padding, contents without a file
    byte "F", ordinal:u32, path length:u16, path, pieces:u32, then offset:u64, length:u64 each
                                            contents of the file diff/<path>

all little-endian, in one zlib stream. A regular file is one piece; a sparse file has one for each
data segment. If a later entry of the archive replaced the file, its contents are in
replaced/<ordinal>. This works because files of a layer never change.

Source: github.com/vbatts/tar-split, for the idea.
"""

from __future__ import annotations

import os
import struct
import zlib

from minidock.errors import StoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

FILE_NAME = "tar-split.z"
REPLACED = "replaced"
_BYTES = struct.Struct("<cI")
_FILE = struct.Struct("<cIH")
_COUNT = struct.Struct("<I")
_PIECE = struct.Struct("<QQ")
_CHUNK = 1 << 18
_FLUSH_AT = 1 << 16


class TarSplitWriter:
    """Writes tar-split.z while a layer is unpacked.

    fd: opened by the caller, for writing; the writer may run after chroot(2).
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._deflate = zlib.compressobj(level=1)
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self.files = 0
        self.total_bytes = 0

    def record(self, content: bytes) -> None:
        """Record bytes of the archive verbatim."""
        self._pending.append(content)
        self._pending_bytes += len(content)
        self.total_bytes += len(content)
        if self._pending_bytes > _FLUSH_AT:
            self._flush()

    def record_file(self, path: bytes, pieces: list[tuple[int, int]]) -> int:
        """Record a reference to a file's contents; returns the file's ordinal."""
        self._flush()
        self.files += 1
        self.total_bytes += sum(length for _, length in pieces)
        self._write(
            _FILE.pack(b"F", self.files, len(path))
            + path
            + _COUNT.pack(len(pieces))
            + b"".join(_PIECE.pack(*piece) for piece in pieces)
        )
        return self.files

    def finish(self) -> None:
        """Flush; the file is complete after this."""
        self._flush()
        self._write_all(self._deflate.flush())

    def _flush(self) -> None:
        if self._pending:
            self._write(_BYTES.pack(b"B", self._pending_bytes) + b"".join(self._pending))
            self._pending.clear()
            self._pending_bytes = 0

    def _write(self, content: bytes) -> None:
        self._write_all(self._deflate.compress(content))

    def _write_all(self, content: bytes) -> None:
        while content:
            content = content[os.write(self._fd, content) :]


def rebuild_archive(layer: str) -> Iterator[bytes]:
    """Rebuild the tar archive of a layer; yields chunks.

    The caller compares its digest with the layer's diff_id.
    Raises StoreError if files of the layer are missing or truncated.
    """
    try:
        with open(f"{layer}/{FILE_NAME}", "rb") as file:
            records = _Records(file.read)
            while (kind := records.read(1)) != b"":
                if kind == b"B":
                    (length,) = _COUNT.unpack(records.read(4))
                    while length:
                        chunk = records.read(min(length, _CHUNK))
                        length -= len(chunk)
                        yield chunk
                else:
                    yield from _contents(layer, records)
    except (OSError, zlib.error, struct.error) as error:
        raise StoreError(
            f"cannot rebuild the archive of the layer {layer}: {error}",
            hint="another program has changed or removed its files",
        ) from None


class _Records:
    """Reads decompressed bytes of tar-split.z."""

    def __init__(self, read_file: object) -> None:
        self._read_file = read_file
        self._inflate = zlib.decompressobj()
        self._ready = b""
        self._at = 0

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes; b"" at the end of the stream."""
        while len(self._ready) - self._at < size:
            packed = self._inflate.unconsumed_tail or self._read_file(_FLUSH_AT)  # type: ignore[operator]
            more = self._inflate.decompress(packed, _CHUNK)
            if not packed and not more:
                if self._at == len(self._ready) and self._inflate.eof:
                    return b""
                raise struct.error(f"{FILE_NAME} is truncated")
            self._ready = self._ready[self._at :] + more
            self._at = 0
        self._at += size
        return self._ready[self._at - size : self._at]


def _contents(layer: str, records: _Records) -> Iterator[bytes]:
    """The contents that an "F" record references, in chunks."""
    ordinal, path_length = struct.unpack("<IH", records.read(6))
    path = records.read(path_length)
    (count,) = _COUNT.unpack(records.read(4))
    pieces = [_PIECE.unpack(records.read(16)) for _ in range(count)]
    fd = _open_contents(layer, ordinal, path)
    try:
        for offset, length in pieces:
            while length:
                chunk = os.pread(fd, min(length, _CHUNK), offset)
                if not chunk:
                    raise StoreError(f"the file {path!r} of the layer {layer} has become shorter")
                offset += len(chunk)
                length -= len(chunk)
                yield chunk
    finally:
        os.close(fd)


def _open_contents(layer: str, ordinal: int, path: bytes) -> int:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(f"{layer}/{REPLACED}/{ordinal}", flags)
    except FileNotFoundError:
        return os.open(os.fsencode(f"{layer}/diff/") + path, flags)
