"""A layer's tar archive, kept without its contents, so that it can be made again bit by bit.

`save` and `push` need each layer as the very archive that came, or its digest would be another
one. But an archive does not follow from the files: it holds an order, padding, user names and
half a dozen ways of writing a long name. So, while a layer is unpacked, whatever is not content of
a file goes into `tar-split.z` (the idea and the name are Docker's):

    byte "B", length:u32, bytes             headers, padding, contents that became no file
    byte "F", ordinal:u32, path length:u16, path, pieces:u32, then offset:u64, length:u64 each
                                            contents, to be read from diff/<path> again

all little-endian, as one zlib stream. The pieces are one for an ordinary file, and the runs of data
of a sparse one. If a later entry of the same archive replaced the file, its contents are in
replaced/<ordinal> instead. Files of a layer never change, which is why this works.

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

    fd: where to; opened by the caller, who may be in a chroot when it is written to.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._deflate = zlib.compressobj(level=1)
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self.files = 0
        self.total_bytes = 0

    def record(self, content: bytes) -> None:
        """Keep bytes of the archive as they are."""
        self._pending.append(content)
        self._pending_bytes += len(content)
        self.total_bytes += len(content)
        if self._pending_bytes > _FLUSH_AT:
            self._flush()

    def record_file(self, path: bytes, pieces: list[tuple[int, int]]) -> int:
        """Note that contents of the archive went into a file; returns the file's ordinal."""
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
        """Write what is still pending; the file is complete after this."""
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
    """The tar archive that a layer's directory was unpacked from, in chunks.

    The caller compares its digest with the layer's diff_id.
    Raises StoreError where the layer's files are not what they were.
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
            f"the layer {layer} cannot be made into an archive again: {error}",
            hint="its files were changed or removed by something else than minidock",
        ) from None


class _Records:
    """The inflated bytes of tar-split.z, as many as are asked for."""

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
    """The contents that one "F" record stands for."""
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
