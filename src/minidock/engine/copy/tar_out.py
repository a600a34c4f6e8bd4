"""Packs a file or a directory as a tar stream.

Used on both sides: in a container's view (container_view.py), whose processes may change the tree
while it is read, and on this machine's own files, which a container may share. So concurrent
changes are expected: files are accessed by descriptors (store/tree_walk.py), opened non-blocking
because of FIFOs, and checked again; one that shrinks is padded with zeros to the size in its
header.

Of extended attributes, file capabilities and user.* are included; sockets are skipped, as in
Docker.

Source: the output of `docker cp … -`; tar(5) of libarchive.
"""

from __future__ import annotations

import os
import stat

from minidock.engine.store.tree_walk import open_file_below, open_realpath, walk_below
from minidock.oci import tar_header as tar
from minidock.oci import tar_writer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_CHUNK_BYTES = 1 << 18


class Packer:
    """Packs one tree. write: gets the archive's bytes.

    inside: in a container's view, whose "/" is the container's, so that links may be followed. On
    this machine, paths must be resolved already (realpath(3)).
    """

    def __init__(self, write: Callable[[bytes], object], *, inside: bool) -> None:
        self._write = write
        self._inside = inside
        self._first_names: dict[tuple[int, int], bytes] = {}

    def pack(self, path: str, name: str) -> None:
        """Pack a path under a name; "." for a directory's content, "/" for a whole root."""
        end = b"" if name == "/" else os.fsencode(name)
        root = b"/" if name == "/" else end
        held = self._open(path, os.O_PATH | os.O_NOFOLLOW)
        try:
            if stat.S_ISDIR(os.fstat(held).st_mode):
                for below, entry, status in walk_below(held):
                    inner = root.rstrip(b"/") + b"/" + os.fsencode(below) if below else end
                    self._entry(entry, inner, status, place=(held, below))
            else:
                self._single(path, held, end)
        finally:
            os.close(held)
        self._write(tar_writer.END)

    def _single(self, path: str, held: int, name: bytes) -> None:
        directory, _, base = path.rpartition("/")
        around = self._open(directory or "/", os.O_PATH | os.O_DIRECTORY)
        try:
            self._entry(held, name, os.fstat(held), place=(around, base))
        finally:
            os.close(around)

    def _open(self, path: str, flags: int) -> int:
        return os.open(path, flags | os.O_CLOEXEC) if self._inside else open_realpath(path, flags)

    def _entry(
        self, held: int, name: bytes, status: os.stat_result, *, place: tuple[int, str]
    ) -> None:
        """Pack a file. held: its O_PATH descriptor. place: a directory, and its path from there."""
        kind = tar.KIND_OF.get(stat.S_IFMT(status.st_mode))
        if kind is None:
            return  # a socket
        inode = (status.st_dev, status.st_ino)
        if kind == tar.REGULAR and status.st_nlink > 1:
            first = self._first_names.setdefault(inode, name)
            if first != name:
                self._write(_header(name, tar.HARD_LINK, status, link=first))
                return
        if kind != tar.REGULAR:
            link = os.readlink(b"", dir_fd=held) if kind == tar.SYMLINK else b""
            self._write(_header(name, kind, status, link=link))
        elif (fd := open_file_below(*place, status)) is not None:
            self._file(fd, name)

    def _file(self, fd: int, name: bytes) -> None:
        try:
            status = os.fstat(fd)
            self._write(_header(name, tar.REGULAR, status, xattrs=_attributes(fd)))
            left = status.st_size
            while left:
                content = os.read(fd, min(left, _CHUNK_BYTES)) or bytes(min(left, _CHUNK_BYTES))
                self._write(content)
                left -= len(content)
            self._write(tar_writer.padding(status.st_size))
        finally:
            os.close(fd)


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
