"""Compressed streams: told by their first bytes, never by a name.

    1f 8b            gzip       what most registries serve
    28 b5 2f fd      zstd       smaller, quicker to unpack
    "BZh"            bzip2      Docker takes these two as well
    fd "7zXZ" 00     xz

Each is read through a file object that gives as many bytes as are asked for and no more, so that a
few kilobytes that stand for a terabyte of zeros never meet in memory.
"""

from __future__ import annotations

import io

from minidock.errors import ArchiveError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Protocol

    from _typeshed import WriteableBuffer

    class Readable(Protocol):
        """What bytes are read from; fewer than asked for are no sign of the end, none are."""

        def read(self, size: int = -1, /) -> bytes: ...


CHUNK = 1 << 18
_MAGIC_LENGTH = 6


class Peeked(io.RawIOBase):
    """A stream whose first bytes were looked at and are still to be read."""

    def __init__(self, source: Readable) -> None:
        self._source = source
        self.start = _read_exactly(source, _MAGIC_LENGTH)
        self._waiting = self.start

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """What a buffered reader around this one asks for."""
        view = memoryview(buffer)
        content = self.read(len(view))
        view[: len(content)] = content
        return len(content)

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes; b"" at the end."""
        if self._waiting:
            taken = self._waiting if size < 0 else self._waiting[:size]
            self._waiting = self._waiting[len(taken) :]
            return taken
        return self._source.read(size)


def compression_of(start: bytes) -> str:
    """How a stream is compressed, by its first bytes: "gzip", "zstd", "bzip2", "xz" or ""."""
    if start.startswith(b"\x1f\x8b"):
        return "gzip"
    if start.startswith(b"\x28\xb5\x2f\xfd"):
        return "zstd"
    if start.startswith(b"BZh"):
        return "bzip2"
    return "xz" if start.startswith(b"\xfd7zXZ\0") else ""


def uncompressed_chunks(source: Readable, *, what: str) -> Iterator[bytes]:
    """The uncompressed content of a stream, in chunks of at most CHUNK bytes.

    what: what the stream is, for the error.
    Raises ArchiveError where the compressed data is damaged or ends too early.
    """
    peeked = Peeked(source)
    compression = compression_of(peeked.start)
    if not compression:
        while chunk := peeked.read(CHUNK):
            yield chunk
        return
    unpacker, errors = _unpacker(compression, peeked)
    while True:
        try:
            chunk = unpacker.read(CHUNK)
        except errors as error:
            raise ArchiveError(
                f"{what} is not a whole {compression} stream: {error or 'it ends too early'}",
                hint="the file was damaged or cut off on its way; fetch or save it again",
            ) from None
        if not chunk:
            return
        yield chunk


def _unpacker(compression: str, source: Peeked) -> tuple[Readable, tuple[type[Exception], ...]]:
    """A reader of the uncompressed bytes, and the errors that damaged data raises in it.

    The decompressors are imported only here: few commands need one, and none needs four.
    """
    if compression == "gzip":
        import gzip
        import zlib

        return gzip.GzipFile(fileobj=source), (EOFError, gzip.BadGzipFile, zlib.error)
    if compression == "zstd":
        import zstandard

        return _ZstdReader(source), (EOFError, zstandard.ZstdError)
    if compression == "bzip2":
        import bz2

        return bz2.BZ2File(source), (EOFError, OSError)
    import lzma

    return lzma.LZMAFile(io.BufferedReader(source)), (EOFError, lzma.LZMAError)


class _ZstdReader:
    """zstd frames, one behind the other, as one stream.

    zstandard's own stream reader takes a cut-off frame for the end of the data, so the frames are
    decoded here; in small pieces, as four bytes can stand for 128 KiB.
    """

    _PIECE = 2048

    def __init__(self, source: Readable) -> None:
        import zstandard

        self._source = source
        self._new_frame = zstandard.ZstdDecompressor().decompressobj
        self._frame = self._new_frame()
        self._within_frame = False
        self._pending = b""

    def read(self, size: int = -1) -> bytes:
        """About `size` bytes, and never none before the end."""
        pieces: list[bytes] = []
        have = 0
        while have < size:
            piece = self._pending or self._source.read(self._PIECE)
            self._pending = b""
            if not piece:
                if self._within_frame:
                    raise EOFError
                break
            content = self._frame.decompress(piece)
            pieces.append(content)
            have += len(content)
            self._within_frame = not self._frame.eof
            if self._frame.eof:
                self._pending = self._frame.unused_data
                self._frame = self._new_frame()
        return b"".join(pieces)


def _read_exactly(source: Readable, size: int) -> bytes:
    """`size` bytes, or fewer at the end: a pipe may give them in pieces."""
    content = b""
    while len(content) < size and (more := source.read(size - len(content))):
        content += more
    return content
