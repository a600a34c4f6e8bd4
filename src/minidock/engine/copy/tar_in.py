"""Unpacks a tar stream to an existing directory, for `cp`.

Existing files are replaced, but never a directory by a file, nor a file by a directory: that is an
error, as in Docker. Names that escape from the directory are refused. Missing parent directories
are created (root, 0755). Links in parent directories are followed in a container's view, whose "/"
is the container's; on this machine they are refused, since they could lead anywhere.

Unlike in a layer, a name like ".wh.x" has no special meaning.

Source: moby pkg/archive (Unpack with NoOverwriteDirNonDir); chown(2) for why the owner comes first.
"""

from __future__ import annotations

import errno
import os
import stat

from minidock.engine.store.tree_walk import open_realpath
from minidock.errors import ArchiveError, Conflict
from minidock.oci import tar_header as tar
from minidock.oci.tar import TarReader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.oci.tar import Readable
    from minidock.oci.tar_header import Entry

_CHUNK_BYTES = 1 << 18
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NODES = {tar.CHARACTER: stat.S_IFCHR, tar.BLOCK_DEVICE: stat.S_IFBLK, tar.FIFO: stat.S_IFIFO}


class Unpacker:
    """Unpacks an archive. directory: exists already. inside: in a container's view."""

    def __init__(self, source: Readable, directory: str, *, inside: bool) -> None:
        self._reader = TarReader(source)
        self._directory = directory
        self._inside = inside
        self._top = -1
        self._open: tuple[bytes, int] = (b"", -1)  # the directory of the previous entry
        self._times: dict[bytes, int] = {}

    def unpack(self) -> None:
        """Unpack all entries. Raises ArchiveError, Conflict, OSError."""
        if self._inside:
            self._top = os.open(self._directory, _DIRECTORY)
        else:
            self._top = open_realpath(self._directory, _DIRECTORY)
        self._open = (b"", os.dup(self._top))
        try:
            for entry in self._reader:
                self._place(entry)
            self._reader.skip_rest()
            for path, mtime_ns in self._times.items():
                os.utime(self._enter(path), ns=(mtime_ns, mtime_ns))
        finally:
            os.close(self._open[1])
            os.close(self._top)

    def _place(self, entry: Entry) -> None:
        path = _clean(entry.name)
        if not path:
            return  # the directory itself is not changed
        around, _, name = path.rpartition(b"/")
        parent = self._enter(around)
        is_directory = entry.kind == tar.DIRECTORY
        exists = self._make_room(parent, name, is_directory=is_directory)
        if entry.kind == tar.REGULAR:
            self._place_file(parent, name, entry)
        elif is_directory:
            if not exists:
                os.mkdir(name, 0o700, dir_fd=parent)
            self._times[path] = max(0, entry.mtime_ns)
            self._set_attributes(self._enter(path), entry)
        elif entry.kind == tar.HARD_LINK:
            self._link(entry, path)
        else:
            self._place_special(parent, name, entry)

    def _place_special(self, parent: int, name: bytes, entry: Entry) -> None:
        """Create a symbolic link, a device or a FIFO, whose attributes are not copied."""
        if entry.kind == tar.SYMLINK:
            os.symlink(entry.link, name, dir_fd=parent)
        elif entry.kind in _NODES:
            device = os.makedev(entry.device_major, entry.device_minor)
            before = os.umask(0)  # so that no chmod by name is needed
            try:
                os.mknod(name, _NODES[entry.kind] | entry.mode, device, dir_fd=parent)
            finally:
                os.umask(before)
        else:
            raise ArchiveError(f"{entry.shown()} has a type that cannot be copied")
        if self._inside:
            os.chown(name, entry.uid, entry.gid, dir_fd=parent, follow_symlinks=False)
        times = (max(0, entry.mtime_ns),) * 2
        os.utime(name, ns=times, dir_fd=parent, follow_symlinks=False)

    def _link(self, entry: Entry, path: bytes) -> None:
        target = _clean(entry.link)
        first = os.dup(self._enter(target.rpartition(b"/")[0]))
        try:
            os.link(
                target.rpartition(b"/")[2], path.rpartition(b"/")[2], src_dir_fd=first,
                dst_dir_fd=self._enter(path.rpartition(b"/")[0]), follow_symlinks=False,
            )  # fmt: skip
        finally:
            os.close(first)

    def _enter(self, path: bytes) -> int:
        """Open a directory; it is created if the archive lacks it. Valid until the next call.

        Raises Conflict if another file has this name.
        """
        if path == self._open[0]:
            return self._open[1]
        here = os.dup(self._top)
        try:
            for part in path.split(b"/") if path else ():
                inner = self._step(here, part)
                os.close(here)
                here = inner
        except BaseException:
            os.close(here)
            raise
        os.close(self._open[1])
        self._open = (path, here)
        return here

    def _step(self, here: int, name: bytes) -> int:
        flags = _DIRECTORY | (0 if self._inside else os.O_NOFOLLOW)
        try:
            return os.open(name, flags, dir_fd=here)
        except FileNotFoundError:
            os.mkdir(name, 0o755, dir_fd=here)
            return os.open(name, flags, dir_fd=here)
        except OSError as error:
            if error.errno not in (errno.ENOTDIR, errno.ELOOP):
                raise
        at = f"{os.readlink(f'/proc/self/fd/{here}')}/" if not self._inside else ""
        raise Conflict(f'cannot copy into "{at}{os.fsdecode(name)}": it is not a directory')

    def _make_room(self, parent: int, name: bytes, *, is_directory: bool) -> bool:
        """Remove an existing file; returns whether the wanted directory exists already."""
        try:
            mode = os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
        except FileNotFoundError:
            return False
        there = stat.S_ISDIR(mode)
        if there and is_directory:
            return True
        if there != is_directory:
            kinds = ("directory", "non-directory") if there else ("non-directory", "directory")
            path = f"{self._directory.rstrip('/')}/{os.fsdecode(self._open[0])}".rstrip("/")
            raise Conflict(
                f'cannot overwrite {kinds[0]} "{path}/{os.fsdecode(name)}" with a {kinds[1]}',
                hint="remove it first, or copy to another name",
            )
        os.unlink(name, dir_fd=parent)
        return False

    def _place_file(self, parent: int, name: bytes, entry: Entry) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(name, flags, 0o600, dir_fd=parent)
        try:
            for offset, length in entry.segments or [(0, entry.size_bytes)]:
                self._write(fd, offset, length)
            os.ftruncate(fd, entry.size_bytes)
            self._set_attributes(fd, entry)
            os.utime(fd, ns=(max(0, entry.mtime_ns),) * 2)
        finally:
            os.close(fd)

    def _write(self, fd: int, offset: int, length: int) -> None:
        end = offset + length
        while offset < end:
            content = self._reader.read_content(min(_CHUNK_BYTES, end - offset))
            while content:
                written = os.pwrite(fd, content, offset)
                offset += written
                content = content[written:]

    def _set_attributes(self, fd: int, entry: Entry) -> None:
        """Set owner (on this machine: ours), mode and attributes of an open file."""
        if self._inside:
            os.fchown(fd, entry.uid, entry.gid)
        os.fchmod(fd, entry.mode)
        for name, value in entry.xattrs.items():
            if name != b"security.capability" and not name.startswith(b"user."):
                continue
            try:
                os.setxattr(fd, name, value)
            except OSError as error:
                if error.errno not in (errno.ENOTSUP, errno.EPERM):
                    raise


def _clean(name: bytes) -> bytes:
    """Clean a path of the archive; b"" for its top. Raises ArchiveError if it escapes."""
    parts: list[bytes] = []
    for part in name.split(b"/"):
        if part == b"..":
            if not parts:
                raise ArchiveError(f"the archive has a path that escapes: {tar.shown(name)}")
            parts.pop()
        elif part not in (b"", b"."):
            parts.append(part)
    return b"/".join(parts)
