"""A tar stream into a directory that has files already: `cp`'s other half.

What is there is replaced, but a directory never by a file, nor a file by a directory: that is an
error, as in Docker. Names that climb out of the directory are refused. Directories that the
archive leaves out are made (root, 0755). Links in the middle of a path are followed in a
container's view, whose "/" is the container's; on this machine's files they are refused, for there
they could lead anywhere.

Other than in a layer, a name like ".wh.x" is just a name.

Source: moby pkg/archive (Unpack with NoOverwriteDirNonDir); chown(2) for why the owner comes first.
"""

from __future__ import annotations

import errno
import os
import stat

from minidock.errors import ArchiveError, Conflict
from minidock.oci import tar_header as tar
from minidock.oci.tar import TarReader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.oci.tar import Readable
    from minidock.oci.tar_header import Entry

_CHUNK_BYTES = 1 << 18
_NODES = {tar.CHARACTER: stat.S_IFCHR, tar.BLOCK_DEVICE: stat.S_IFBLK, tar.FIFO: stat.S_IFIFO}


class Unpacker:
    """Unpacks one archive. directory: where, it exists. inside: in a container's view."""

    def __init__(self, source: Readable, directory: str, *, inside: bool) -> None:
        self._reader = TarReader(source)
        self._top = os.fsencode(directory).rstrip(b"/")
        self._inside = inside
        self._times: dict[bytes, int] = {}

    def unpack(self) -> None:
        """Unpack all of it. Raises ArchiveError, Conflict, OSError."""
        for entry in self._reader:
            self._place(entry)
        self._reader.skip_rest()
        for path, mtime_ns in self._times.items():
            os.utime(path, ns=(mtime_ns, mtime_ns))

    def _place(self, entry: Entry) -> None:
        name = _clean(entry.name)
        if not name:
            return  # the directory itself stays as it is
        path = self._top + b"/" + name
        self._provide_parents(name)
        is_directory = entry.kind == tar.DIRECTORY
        exists = self._make_room(path, is_directory=is_directory)
        if entry.kind == tar.REGULAR:
            self._place_file(path, entry)
            return
        if is_directory:
            if not exists:
                os.mkdir(path, 0o700)
            self._times[path] = max(0, entry.mtime_ns)
        elif entry.kind == tar.SYMLINK:
            os.symlink(entry.link, path)
        elif entry.kind == tar.HARD_LINK:
            os.link(self._top + b"/" + _clean(entry.link), path, follow_symlinks=False)
            return
        elif entry.kind in _NODES:
            device = os.makedev(entry.device_major, entry.device_minor)
            os.mknod(path, _NODES[entry.kind] | 0o600, device)
        else:
            raise ArchiveError(f"{entry.shown()} is of a kind that cannot be copied")
        self._set_attributes(path, entry)

    def _provide_parents(self, name: bytes) -> None:
        """Make the directories that lead to a name, where the archive leaves them out."""
        at = self._top
        for part in name.split(b"/")[:-1]:
            at += b"/" + part
            try:
                mode = (os.stat if self._inside else os.lstat)(at).st_mode
            except FileNotFoundError:
                os.mkdir(at, 0o755)
                continue
            if not stat.S_ISDIR(mode):
                raise Conflict(f'cannot copy into "{os.fsdecode(at)}": it is no directory')

    def _make_room(self, path: bytes, *, is_directory: bool) -> bool:
        """Remove what is in the way; returns whether the directory that is wanted is there."""
        try:
            mode = os.lstat(path).st_mode
        except FileNotFoundError:
            return False
        there = stat.S_ISDIR(mode)
        if there and is_directory:
            return True
        if there != is_directory:
            kinds = ("directory", "non-directory") if there else ("non-directory", "directory")
            raise Conflict(
                f'cannot overwrite {kinds[0]} "{os.fsdecode(path)}" with a {kinds[1]}',
                hint="remove it first, or copy to another name",
            )
        os.unlink(path)
        return False

    def _place_file(self, path: bytes, entry: Entry) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(path, flags, 0o600)
        try:
            for offset, length in entry.segments or [(0, entry.size_bytes)]:
                self._write(fd, offset, length)
            os.ftruncate(fd, entry.size_bytes)
            self._set_attributes(fd, entry)
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

    def _set_attributes(self, target: int | bytes, entry: Entry) -> None:
        """Owner (on this machine: ours), mode, attributes and time."""
        is_open = isinstance(target, int)  # what is open is no link any more
        if self._inside:
            os.chown(target, entry.uid, entry.gid, follow_symlinks=is_open)
        if entry.kind != tar.SYMLINK:
            os.chmod(target, entry.mode)
        for name, value in entry.xattrs.items():
            if name != b"security.capability" and not name.startswith(b"user."):
                continue
            try:
                os.setxattr(target, name, value, follow_symlinks=is_open)
            except OSError as error:
                if error.errno not in (errno.ENOTSUP, errno.EPERM):
                    raise
        if entry.kind != tar.DIRECTORY:
            mtime_ns = max(0, entry.mtime_ns)
            os.utime(target, ns=(mtime_ns, mtime_ns), follow_symlinks=is_open)


def _clean(name: bytes) -> bytes:
    """A path of the archive, relative; b"" for its top. Raises ArchiveError where it climbs out."""
    parts: list[bytes] = []
    for part in name.split(b"/"):
        if part == b"..":
            if not parts:
                raise ArchiveError(f"the archive has a path that leads out: {tar.shown(name)}")
            parts.pop()
        elif part not in (b"", b"."):
            parts.append(part)
    return b"/".join(parts)
