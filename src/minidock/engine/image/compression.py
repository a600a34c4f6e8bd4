"""Compressed streams, recognised by their magic number, never by a name.

    1f 8b            gzip       what most registries serve
    28 b5 2f fd      zstd       smaller, quicker to unpack
    "BZh"            bzip2      bzip2 and xz: Docker accepts them too
    fd "7zXZ" 00     xz

Each is read through a file object that returns no more bytes than requested, so that a
decompression bomb (kilobytes that expand to a terabyte) does not fill the memory.

`gzip_chunks` compresses for registries. It cuts the stream into blocks of fixed size, which two
threads compress independently, and concatenates them: a deflate stream may be flushed at any point.
The result depends on the content only, not on the chunks.

gzip uses Intel's ISA-L in both directions (three times as fast as zlib), by the package isal.

Sources: RFC 1952 (gzip), RFC 1951 section 3.2.4 for the empty block at the end of a flush.
"""

from __future__ import annotations

import io
import struct

from minidock.errors import ArchiveError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Protocol

    from _typeshed import WriteableBuffer

    class Readable(Protocol):
        """A source of bytes. A short read is not the end; an empty one is."""

        def read(self, size: int = -1, /) -> bytes: ...


CHUNK = 1 << 18
_MAGIC_LENGTH = 6
_BLOCK_BYTES = 1 << 20
_THREADS = 2
_LEVEL = 2  # of ISA-L's 0 to 3; 3 takes 50% more time and saves 1.7%
_RAW_DEFLATE = -15
# Magic, deflate, no flags, no time (so that equal layers have equal blobs), unknown OS.
_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"


class PeekedStream(io.RawIOBase):
    """A stream whose first bytes are known in `start` and can still be read."""

    def __init__(self, source: Readable) -> None:
        self._source = source
        self.start = _read_exactly(source, _MAGIC_LENGTH)
        self._unread = self.start

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Read into a buffer, for io.BufferedReader."""
        view = memoryview(buffer)
        content = self.read(len(view))
        view[: len(content)] = content
        return len(content)

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes; b"" at the end."""
        if self._unread:
            chunk = self._unread if size < 0 else self._unread[:size]
            self._unread = self._unread[len(chunk) :]
            return chunk
        return self._source.read(size)


def compression_of(start: bytes) -> str:
    """The compression of a stream, by its first bytes: "gzip", "zstd", "bzip2", "xz" or ""."""
    if start.startswith(b"\x1f\x8b"):
        return "gzip"
    if start.startswith(b"\x28\xb5\x2f\xfd"):
        return "zstd"
    if start.startswith(b"BZh"):
        return "bzip2"
    return "xz" if start.startswith(b"\xfd7zXZ\0") else ""


def uncompressed_chunks(source: Readable, *, what: str) -> Iterator[bytes]:
    """Decompress a stream; yields chunks of at most CHUNK bytes.

    what: the name of the stream in errors.
    Raises ArchiveError if the compressed data is damaged or truncated.
    """
    peeked = PeekedStream(source)
    compression = compression_of(peeked.start)
    if not compression:
        while chunk := peeked.read(CHUNK):
            yield chunk
        return
    unpacker, errors = _open_decompressor(compression, peeked)
    while True:
        try:
            chunk = unpacker.read(CHUNK)
        except errors as error:
            raise ArchiveError(
                f"{what} is not a valid {compression} stream: {error or 'it is truncated'}",
                hint="the file was damaged or truncated; fetch or save it again",
            ) from None
        if not chunk:
            return
        yield chunk


def gzip_chunks(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Compress a stream with gzip in constant memory; equal streams give equal bytes."""
    from collections import deque
    from concurrent.futures import Future, ThreadPoolExecutor

    from isal import isal_zlib

    crc = size = 0
    pending_blocks: deque[Future[bytes]] = deque()
    yield _GZIP_HEADER
    with ThreadPoolExecutor(_THREADS) as threads:
        for block in _blocks(chunks):
            pending_blocks.append(threads.submit(_deflate_block, block))
            crc = isal_zlib.crc32(block, crc)
            size += len(block)
            while len(pending_blocks) > _THREADS:
                yield pending_blocks.popleft().result()
        while pending_blocks:
            yield pending_blocks.popleft().result()
    end = isal_zlib.compressobj(_LEVEL, isal_zlib.DEFLATED, _RAW_DEFLATE)
    yield end.flush() + struct.pack("<II", crc, size & 0xFFFFFFFF)


def _blocks(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in blocks of _BLOCK_BYTES."""
    pending = bytearray()
    for chunk in chunks:
        pending += chunk
        while len(pending) >= _BLOCK_BYTES:
            yield bytes(memoryview(pending)[:_BLOCK_BYTES])
            del pending[:_BLOCK_BYTES]
    if pending:
        yield bytes(pending)


def _deflate_block(block: bytes) -> bytes:
    """Compress one block, ended by a sync flush instead of a final block."""
    from isal import isal_zlib

    deflate = isal_zlib.compressobj(_LEVEL, isal_zlib.DEFLATED, _RAW_DEFLATE)
    return deflate.compress(block) + deflate.flush(isal_zlib.Z_SYNC_FLUSH)


def _open_decompressor(
    compression: str, source: PeekedStream
) -> tuple[Readable, tuple[type[Exception], ...]]:
    """A reader of the uncompressed bytes, and the exceptions that it raises for damaged data.

    Decompressors are imported on demand: few commands need one.
    """
    if compression == "gzip":
        from isal import igzip, isal_zlib

        reader: Readable = igzip.IGzipFile(fileobj=source)  # type: ignore[no-untyped-call]
        damage: type[Exception] = isal_zlib.error  # type: ignore[assignment]  # its stub errs
        return reader, (EOFError, igzip.BadGzipFile, damage)
    if compression == "zstd":
        import zstandard

        return _ZstdReader(source), (EOFError, zstandard.ZstdError)
    if compression == "bzip2":
        import bz2

        return bz2.BZ2File(source), (EOFError, OSError)
    import lzma

    return lzma.LZMAFile(io.BufferedReader(source)), (EOFError, lzma.LZMAError)


class _ZstdReader:
    """Concatenated zstd frames as one stream.

    zstandard's own stream reader takes a truncated frame for the end of the data, so the frames are
    decoded here; in small pieces, since four bytes can expand to 128 KiB.
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
        """About `size` bytes; b"" only at the end."""
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
    """Read `size` bytes, fewer at the end; a pipe may return short reads."""
    content = b""
    while len(content) < size and (more := source.read(size - len(content))):
        content += more
    return content
