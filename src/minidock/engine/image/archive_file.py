"""Read the members of an image archive by name, without unpacking it to paths.

A member is a region of the archive's file, so no member name can lead to a host file. A link leads
to another member; a FIFO, device or directory in place of a file is an error.

An uncompressed archive in a regular file is read in place. A compressed one, or one from a pipe, is
first decompressed into an unnamed file of the store (O_TMPFILE): its index may come last.
"""

from __future__ import annotations

import os
import stat

from minidock.engine.image.compression import compression_of, uncompressed_chunks
from minidock.errors import ArchiveError, StoreError
from minidock.oci import tar_header as tar
from minidock.oci.image_config import JSON_BYTES_MAX
from minidock.oci.tar import TarReader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

    Progress = Callable[[str, int, int | None], None]  # label, bytes done, total bytes

_LINKS_MAX = 40  # as many as the kernel follows
_BUFFER = 1 << 16
_KINDS = {
    tar.CHARACTER: "a device",
    tar.BLOCK_DEVICE: "a device",
    tar.FIFO: "a FIFO",
    tar.DIRECTORY: "a directory",
}


class Region:
    """A part of an open file, read sequentially."""

    def __init__(self, fd: int, offset: int, size: int) -> None:
        self._fd = fd
        self.offset = offset
        self.end = offset + size

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes; b"" at the end."""
        left = self.end - self.offset
        content = os.pread(self._fd, left if size < 0 else min(size, left), self.offset)
        if left and size and not content:
            raise ArchiveError("the archive is truncated")
        self.offset += len(content)
        return content


class _Headers(Region):
    """The archive for the tar reader: buffered short reads, long skips."""

    _buffer = b""

    def read(self, size: int = -1) -> bytes:
        if len(self._buffer) < size:
            self._buffer += super().read(max(size, _BUFFER))
        chunk, self._buffer = self._buffer[:size], self._buffer[size:]
        return chunk

    @property
    def position(self) -> int:
        return self.offset - len(self._buffer)

    def skip(self, size: int) -> None:
        if self.position + size > self.end:
            raise ArchiveError("the archive is truncated: it ends within a file")
        if size <= len(self._buffer):
            self._buffer = self._buffer[size:]
        else:
            self.offset += size - len(self._buffer)
            self._buffer = b""


class ArchiveFile:
    """The members of an archive, by name. The context manager closes the file if it is a copy."""

    def __init__(self, fd: int, offset: int, size: int, *, is_copy: bool) -> None:
        self._fd = fd
        self._is_copy = is_copy
        self._files: dict[str, tuple[int, int]] = {}
        self._special: dict[str, tuple[int, str]] = {}
        headers = _Headers(fd, offset, size)
        reader = TarReader(headers, skip=headers.skip)
        for entry in reader:
            name = _member_name(entry.name)
            self._files.pop(name, None)
            if entry.kind == tar.REGULAR and entry.segments is None:
                self._files[name] = (headers.position, entry.payload_bytes)
            else:
                self._special[name] = (entry.kind, os.fsdecode(entry.link))

    def __enter__(self) -> ArchiveFile:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if self._is_copy:
            os.close(self._fd)

    def __contains__(self, name: str) -> bool:
        return name in self._files or name in self._special

    def open(self, name: str) -> Region:
        """Open a member, following links. Raises ArchiveError."""
        requested = name = _member_name(os.fsencode(name))
        for _ in range(_LINKS_MAX):
            if name in self._files:
                return Region(self._fd, *self._files[name])
            if name not in self._special:
                raise ArchiveError(
                    f"the archive has no {tar.shown(os.fsencode(name))}, which it needs",
                    hint="it is incomplete, or a rootfs: use 'minidock import'",
                )
            kind, link = self._special[name]
            if kind == tar.SYMLINK:
                folder = "" if link.startswith("/") else name.rpartition("/")[0] + "/"
                name = _member_name(os.fsencode(folder + link))
            elif kind == tar.HARD_LINK:
                name = _member_name(os.fsencode(link))
            else:
                what = _KINDS.get(kind, "not a regular file")
                raise ArchiveError(f"{tar.shown(os.fsencode(name))} in the archive is {what}")
        raise ArchiveError(f"links in the archive form a loop at {requested!r}")

    def read_document(self, name: str) -> bytes:
        """Read a whole JSON member. Raises ArchiveError if it is too large."""
        region = self.open(name)
        if region.end - region.offset > JSON_BYTES_MAX:
            raise ArchiveError(f"{name!r} in the archive is too large for a document")
        content = b""
        while more := region.read():
            content += more
        return content


def open_archive(stream: BinaryIO, scratch: str, *, progress: Progress | None) -> ArchiveFile:
    """Open an archive, plain or compressed, from a file or a pipe.

    scratch: a directory for a decompressed copy, if needed. Raises ArchiveError.
    """
    fd, offset, size = _plain_file(stream)
    if fd >= 0:
        return ArchiveFile(fd, offset, size, is_copy=False)
    try:
        fd = os.open(scratch, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        return ArchiveFile(fd, 0, _copy(stream, fd, progress), is_copy=True)
    except BaseException as error:
        if fd >= 0:
            os.close(fd)
        if not isinstance(error, OSError):
            raise
        raise StoreError(
            f"the archive cannot be copied into the store: {error.strerror}",
            hint="a compressed archive, or one from a pipe, temporarily needs twice the space",
        ) from None


def _plain_file(stream: BinaryIO) -> tuple[int, int, int]:
    """Descriptor, offset and size of an uncompressed regular file; descriptor -1 otherwise."""
    try:
        fd = stream.fileno()
        offset = stream.tell()
    except OSError:  # a pipe, or a stream in memory
        return -1, 0, 0
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode) or compression_of(os.pread(fd, 6, offset)):
        return -1, 0, 0
    return fd, offset, status.st_size - offset


def _copy(stream: BinaryIO, fd: int, progress: Progress | None) -> int:
    """Decompress a stream into a file, long runs of zeros as holes; returns its size."""
    size = 0
    for chunk in uncompressed_chunks(stream, what="the archive"):
        if chunk.count(0) != len(chunk):
            _write_all(fd, chunk, size)
        size += len(chunk)
        if progress is not None:
            progress("Reading archive", size, None)
    os.ftruncate(fd, size)
    return size


def _write_all(fd: int, content: bytes, offset: int) -> None:
    while content:
        written = os.pwrite(fd, content, offset)
        offset += written
        content = content[written:]


def _member_name(name: bytes) -> str:
    """Normalise a member's name: no "./", ".." stays within the archive."""
    parts: list[bytes] = []
    for part in name.split(b"/"):
        if part == b"..":
            del parts[-1:]
        elif part not in (b"", b"."):
            parts.append(part)
    return os.fsdecode(b"/".join(parts))
