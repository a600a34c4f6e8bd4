"""A file, or a directory with all that is in it, as a tar stream.

Used on both sides: in a container's view (view.py), whose processes may change the tree while it is
read, and on this machine's own files. So nothing that is found is trusted to stay: a file is opened
without following a link and without waiting for a FIFO's other end, and looked at again; one that
shrinks is filled up with zeros to the size that its header has told.

Of extended attributes, file capabilities and user.* go along; sockets are left out, as by Docker.

Source: what `docker cp … -` writes; tar(5) of libarchive.
"""

from __future__ import annotations

import os
import stat

from minidock.oci import tar_header as tar
from minidock.oci import tar_writer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_CHUNK_BYTES = 1 << 18


class Packer:
    """Writes one tree. write: takes the archive's bytes."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._first_names: dict[tuple[int, int], bytes] = {}

    def pack(self, path: str, name: str) -> None:
        """Write what is at a path, under a name; "." for what is in it, "/" for a whole root."""
        top = b"" if name == "/" else os.fsencode(name)
        root = b"/" if name == "/" else top
        for source, status in _walk(os.fsencode(path)):
            below = source[len(os.fsencode(path)) :].lstrip(b"/")
            inner = root.rstrip(b"/") + b"/" + below if below else top
            self._entry(source, inner, status)
        self._write(tar_writer.END)

    def _entry(self, path: bytes, name: bytes, status: os.stat_result) -> None:
        kind = tar.KIND_OF.get(stat.S_IFMT(status.st_mode))
        if kind is None:
            return  # a socket
        inode = (status.st_dev, status.st_ino)
        if kind == tar.REGULAR and status.st_nlink > 1:
            first = self._first_names.setdefault(inode, name)
            if first != name:
                self._write(_header(name, tar.HARD_LINK, status, link=first))
                return
        if kind == tar.REGULAR:
            self._file(path, name, status)
        else:
            link = os.readlink(path) if kind == tar.SYMLINK else b""
            self._write(_header(name, kind, status, link=link))

    def _file(self, path: bytes, name: bytes, status: os.stat_result) -> None:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            fd = os.open(path, flags)
        except FileNotFoundError:
            return  # it has gone meanwhile
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                return
            self._write(_header(name, tar.REGULAR, status, xattrs=_attributes(fd)))
            left = status.st_size
            while left:
                content = os.read(fd, min(left, _CHUNK_BYTES)) or bytes(min(left, _CHUNK_BYTES))
                self._write(content)
                left -= len(content)
            self._write(tar_writer.padding(status.st_size))
        finally:
            os.close(fd)


def _walk(path: bytes) -> Iterator[tuple[bytes, os.stat_result]]:
    """A path and all below it, each directory before what is in it; no link is followed."""
    waiting = [path]
    while waiting:
        current = waiting.pop()
        try:
            status = os.lstat(current)
            names = os.listdir(current) if stat.S_ISDIR(status.st_mode) else []
        except (FileNotFoundError, NotADirectoryError):
            if current == path:
                raise
            continue  # it has gone meanwhile
        yield current, status
        waiting += [current.rstrip(b"/") + b"/" + name for name in sorted(names, reverse=True)]


def _attributes(fd: int) -> dict[bytes, bytes]:
    wanted = [n for n in os.listxattr(fd) if n == "security.capability" or n.startswith("user.")]
    return {os.fsencode(name): os.getxattr(fd, name) for name in wanted}


def _header(
    name: bytes,
    kind: int,
    status: os.stat_result,
    *,
    link: bytes = b"",
    xattrs: dict[bytes, bytes] | None = None,
) -> bytes:
    return tar_writer.header(
        name,
        kind,
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        size_bytes=status.st_size if kind == tar.REGULAR else 0,
        mtime_seconds=status.st_mtime_ns // 1_000_000_000,
        link=link,
        device=(os.major(status.st_rdev), os.minor(status.st_rdev)),
        xattrs=xattrs,
    )
