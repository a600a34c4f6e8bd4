"""Compressed streams: told by their first bytes, never by a name.

    1f 8b            gzip       what most registries serve
    28 b5 2f fd      zstd       smaller, quicker to unpack
    "BZh"            bzip2      Docker takes these two as well
    fd "7zXZ" 00     xz

Each is read through a file object that gives as many bytes as are asked for and no more, so that a
few kilobytes that stand for a terabyte of zeros never meet in memory.

`gzip_chunks` compresses, for registries. It cuts the stream into blocks, which two threads compress
each by itself, and joins them: a deflate stream may be flushed anywhere, and goes on behind it. As
the blocks are always the same, so is the result, whatever chunks come in.

gzip is Intel's ISA-L in both directions (three times as fast as zlib), by the package isal.

Sources: RFC 1952 (gzip), RFC 1951 section 3.2.4 for the empty block that a flush ends with.
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
        """What bytes are read from; fewer than asked for are no sign of the end, none are."""

        def read(self, size: int = -1, /) -> bytes: ...


CHUNK = 1 << 18
_MAGIC_LENGTH = 6
_BLOCK_BYTES = 1 << 20
_THREADS = 2
_LEVEL = 2  # of ISA-L's 0 to 3; 3 costs half as much time again, for one part in sixty
_RAW_DEFLATE = -15
# Magic, deflate, no flags, no time (so that equal layers have equal blobs), unknown system.
_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"


class PeekedStream(io.RawIOBase):
    """A stream whose first bytes were looked at and are still to be read."""

    def __init__(self, source: Readable) -> None:
        self._source = source
        self.start = _read_exactly(source, _MAGIC_LENGTH)
        self._unread = self.start

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
        if self._unread:
            chunk = self._unread if size < 0 else self._unread[:size]
            self._unread = self._unread[len(chunk) :]
            return chunk
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
                f"{what} is not a whole {compression} stream: {error or 'it ends too early'}",
                hint="the file was damaged or cut off on its way; fetch or save it again",
            ) from None
        if not chunk:
            return
        yield chunk


def gzip_chunks(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """A stream as gzip, in chunks. Memory stays flat; equal streams give equal bytes."""
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
    """The same bytes, cut anew."""
    pending = bytearray()
    for chunk in chunks:
        pending += chunk
        while len(pending) >= _BLOCK_BYTES:
            yield bytes(memoryview(pending)[:_BLOCK_BYTES])
            del pending[:_BLOCK_BYTES]
    if pending:
        yield bytes(pending)


def _deflate_block(block: bytes) -> bytes:
    """One block compressed, ended by a flush and not as the last one."""
    from isal import isal_zlib

    deflate = isal_zlib.compressobj(_LEVEL, isal_zlib.DEFLATED, _RAW_DEFLATE)
    return deflate.compress(block) + deflate.flush(isal_zlib.Z_SYNC_FLUSH)


def _open_decompressor(
    compression: str, source: PeekedStream
) -> tuple[Readable, tuple[type[Exception], ...]]:
    """A reader of the uncompressed bytes, and the errors that damaged data raises in it.

    The decompressors are imported only here: few commands need one, and none needs four.
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
