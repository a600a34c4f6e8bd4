"""Move or copy the files of an upperdir into a layer of the store.

    MovedFiles    the upperdir itself becomes the layer's diff/, without writing data; its container
                  has ended. Removes what a tar archive cannot represent: overlayfs's own xattrs,
                  sockets, mount point stubs, fractions of seconds.
    CopiedFiles   the container keeps its files. Shares blocks (FICLONE) if the file system can,
                  else copies within the kernel and keeps holes.

Both produce the tree that the layer's archive unpacks to. The caller (upper_layer.py) passes each
entry once, a directory before its contents.

Sources: ioctl_ficlone(2), copy_file_range(2), lseek(2) "SEEK_DATA"; overlayfs.rst.
"""

from __future__ import annotations

import errno
import os
import stat

from minidock.engine.image.upper_tar import seconds
from minidock.engine.image.upper_walk import changed_meanwhile
from minidock.engine.image.whiteout import OPAQUE_XATTR, OVERLAY_XATTRS
from minidock.engine.store.tree_removal import remove_below

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from minidock.engine.image.upper import Upper
    from minidock.engine.image.upper_walk import Entry

    class LayerFiles(Protocol):
        """The destination of a walk's entries."""

        def file(self, entry: Entry, fd: int, xattrs: dict[bytes, bytes]) -> int:
            """Add a regular file, open as fd; returns a descriptor of the layer's file."""

        def directory(self, entry: Entry, fd: int, xattrs: dict[bytes, bytes]) -> None: ...

        def other(self, entry: Entry, link: bytes) -> None:
            """Add a symbolic link, a device, a FIFO or a whiteout."""

        def hard_link(self, entry: Entry, first: bytes) -> None: ...

        def leave_out(self, entry: Entry) -> None: ...

        def finish(self) -> None:
            """Complete the layer's diff/ after the walk."""

        def __enter__(self) -> LayerFiles: ...

        def __exit__(self, kind: object, error: object, trace: object) -> None: ...


_FICLONE = 0x40049409
_COPY_MAX = 1 << 30
_NO_CLONE = frozenset((errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY))
_OVERLAY = OVERLAY_XATTRS.decode()
_OPAQUE = OPAQUE_XATTR.decode()


class MovedFiles:
    """The upperdir becomes the layer's diff/. After an error, the caller removes both."""

    def __init__(self, upper: Upper, diff: str) -> None:
        self._upper = upper
        self._diff = diff
        self._sockets: list[bytes] = []
        self._directory_times: dict[bytes, int] = {}

    def __enter__(self) -> MovedFiles:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        pass

    def file(self, entry: Entry, fd: int, xattrs: dict[bytes, bytes]) -> int:
        _remove_overlay_xattrs(fd)
        _set_time(fd, entry)
        return fd

    def directory(self, entry: Entry, fd: int, xattrs: dict[bytes, bytes]) -> None:
        _remove_overlay_xattrs(fd, keep=_OPAQUE if entry.opaque else "")
        self._directory_times[entry.path] = seconds(entry)

    def other(self, entry: Entry, link: bytes) -> None:
        if entry.is_whiteout:
            return  # overlayfs hard-links its whiteouts; they have no xattrs
        with self._upper.parent(entry.path) as (parent, name):
            path = b"/proc/self/fd/%d/%b" % (parent, name)
            for attribute in os.listxattr(path, follow_symlinks=False):
                if attribute.startswith(_OVERLAY):
                    os.removexattr(path, attribute, follow_symlinks=False)
            _set_time(name, entry, dir_fd=parent)

    def hard_link(self, entry: Entry, first: bytes) -> None:
        pass

    def leave_out(self, entry: Entry) -> None:
        self._sockets.append(entry.path)

    def finish(self) -> None:
        for path in self._sockets + self._upper.left_out:
            with self._upper.parent(path) as (parent, name):
                if stat.S_ISDIR(os.lstat(name, dir_fd=parent).st_mode):
                    remove_below(parent, os.fsdecode(name))
                else:
                    os.unlink(name, dir_fd=parent)
        for path, time in self._directory_times.items():
            with self._upper.parent(path) as (parent, name):
                os.utime(name, (time, time), dir_fd=parent, follow_symlinks=False)
        root = self._upper.open_directory(b"")
        try:
            _remove_overlay_xattrs(root)
            os.fchown(root, 0, 0)
            os.fchmod(root, 0o755)
        finally:
            os.close(root)
        os.rename(self._upper.path, self._diff)


class CopiedFiles:
    """The layer's diff/ is a copy; the copy is hashed, since it cannot change meanwhile."""

    def __init__(self, upper: Upper, diff: str) -> None:
        self._upper = upper
        self._can_clone = True
        self._directory_times: dict[bytes, int] = {}
        os.mkdir(diff, 0o755)
        os.chmod(diff, 0o755)
        self._root = os.open(diff, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def __enter__(self) -> CopiedFiles:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        os.close(self._root)

    def file(self, entry: Entry, fd: int, xattrs: dict[bytes, bytes]) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        copy = os.open(entry.path, flags, 0o600, dir_fd=self._root)
        try:
            if entry.status.st_size and not self._clone(fd, copy):
                _copy_data(entry, fd, copy)
            if os.fstat(fd).st_size < entry.status.st_size:
                raise changed_meanwhile(
                    entry.path
                )  # truncated meanwhile; the missing end is not a hole
            os.ftruncate(copy, entry.status.st_size)
            # The owner before the mode and the xattrs: chown drops setuid and capabilities.
            os.fchown(copy, entry.status.st_uid, entry.status.st_gid)
            os.fchmod(copy, stat.S_IMODE(entry.status.st_mode))
            for name, value in xattrs.items():
                os.setxattr(copy, name, value)
            _set_time(copy, entry)
        except BaseException:
            os.close(copy)
            raise
        return copy

    def directory(self, entry: Entry, fd: int, xattrs: dict[bytes, bytes]) -> None:
        os.mkdir(entry.path, 0o700, dir_fd=self._root)
        copy = os.open(entry.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._root)
        try:
            os.fchown(copy, entry.status.st_uid, entry.status.st_gid)
            os.fchmod(copy, stat.S_IMODE(entry.status.st_mode))
            for name, value in xattrs.items():
                os.setxattr(copy, name, value)
            if entry.opaque:
                os.setxattr(copy, _OPAQUE, b"y")
        finally:
            os.close(copy)
        self._directory_times[entry.path] = seconds(entry)

    def other(self, entry: Entry, link: bytes) -> None:
        status = entry.status
        if stat.S_ISLNK(status.st_mode):
            os.symlink(link, entry.path, dir_fd=self._root)
        else:
            kind = stat.S_IFMT(status.st_mode)
            os.mknod(entry.path, kind | 0o600, status.st_rdev, dir_fd=self._root)
        if entry.is_whiteout:
            return
        os.chown(entry.path, status.st_uid, status.st_gid, dir_fd=self._root, follow_symlinks=False)
        if not stat.S_ISLNK(status.st_mode):
            os.chmod(entry.path, stat.S_IMODE(status.st_mode), dir_fd=self._root)
        _set_time(entry.path, entry, dir_fd=self._root)

    def hard_link(self, entry: Entry, first: bytes) -> None:
        os.link(first, entry.path, src_dir_fd=self._root, dst_dir_fd=self._root)

    def leave_out(self, entry: Entry) -> None:
        pass

    def finish(self) -> None:
        for path, time in self._directory_times.items():
            os.utime(path, (time, time), dir_fd=self._root, follow_symlinks=False)

    def _clone(self, fd: int, copy: int) -> bool:
        """Share the file's blocks with the copy; returns False if the file system cannot."""
        import fcntl

        if not self._can_clone:
            return False
        try:
            fcntl.ioctl(copy, _FICLONE, fd)
        except OSError as error:
            if error.errno not in _NO_CLONE:
                raise
            self._can_clone = False
        return self._can_clone


def _copy_data(entry: Entry, fd: int, copy: int) -> None:
    """Copy a file's data segments to the same offsets, skipping holes."""
    size = entry.status.st_size
    at = 0
    while at < size:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            break  # a hole up to the end
        end = min(os.lseek(fd, start, os.SEEK_HOLE), size)
        at = start
        while at < end:
            copied = _copy_range(fd, copy, min(end - at, _COPY_MAX), at)
            if not copied:
                raise changed_meanwhile(entry.path)
            at += copied


def _copy_range(fd: int, copy: int, count: int, at: int) -> int:
    """Copy bytes to the same offset; returns the number. sendfile(2) across file systems."""
    try:
        return os.copy_file_range(fd, copy, count, at, at)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
    os.lseek(copy, at, os.SEEK_SET)
    return os.sendfile(copy, fd, at, count)


def _remove_overlay_xattrs(fd: int, *, keep: str = "") -> None:
    """Remove overlayfs's own xattrs, such as trusted.overlay.origin."""
    for name in os.listxattr(fd):
        if name.startswith(_OVERLAY) and name != keep:
            os.removexattr(fd, name)


def _set_time(target: int | bytes, entry: Entry, *, dir_fd: int | None = None) -> None:
    """Set a file's times to whole seconds, as in the layer's archive."""
    time = seconds(entry)
    if isinstance(target, int):
        os.utime(target, (time, time))
    else:
        os.utime(target, (time, time), dir_fd=dir_fd, follow_symlinks=False)
