"""Copying a tree with all file attributes, safe against concurrent changes by containers.

Between two calls a container can replace a directory by a link to the host's files. So no operation
uses a name that it could replace: each file is first opened without following links, and stat,
read, chown, chmod, xattrs and times use that descriptor. Links, devices, FIFOs and sockets, which
cannot be opened that way, are opened with O_PATH; the /proc/self/fd entry leads to the file itself,
even if its name is reused.

Sources: openat(2) "O_PATH", proc_pid_fd(5), lseek(2) "SEEK_DATA", xattr(7), chown(2) for why the
owner comes first.
"""

from __future__ import annotations

import os
import stat
from errno import ENXIO

from minidock.errors import Conflict, KernelError
from minidock.kernel.path import open_beneath

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_HOLD = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_COPY_BYTES = 1 << 20


def copy_tree(source: int, target: int) -> None:
    """Copy the contents and the attributes of a directory to another, empty one.

    source, target: descriptors, open for reading. Owners, modes, xattrs, times, hard links, holes
    and devices are copied; overlayfs's own xattrs are not.
    Raises Conflict if a container has changed a file that was just created, OSError.
    """
    _Copy(target).directory(source, target, "")


def copy_attributes(source: int, target: int) -> None:
    """Copy owner, mode, xattrs and times of an open file; owner first: chown(2) clears setuid."""
    status = os.fstat(source)
    there = f"/proc/self/fd/{target}"
    is_link = stat.S_ISLNK(status.st_mode)
    os.chown(there, status.st_uid, status.st_gid)
    if not is_link:
        os.chmod(there, stat.S_IMODE(status.st_mode))
    for name in os.listxattr(f"/proc/self/fd/{source}"):
        if not name.startswith("trusted.overlay."):
            os.setxattr(there, name, os.getxattr(f"/proc/self/fd/{source}", name))
    os.utime(there, ns=(status.st_atime_ns, status.st_mtime_ns))


def open_directory(path: str) -> _opened:
    """`with open_directory(path) as descriptor:` a directory, open for reading.

    path: of the store, or a /proc/self/fd entry, which a container cannot replace.
    """
    return _opened(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))


class _Copy:
    """A copy in progress. It remembers copied files with several names, by path and inode."""

    def __init__(self, top: int) -> None:
        self._top = top
        self._linked: dict[tuple[int, int], tuple[str, tuple[int, int]]] = {}

    def directory(self, source: int, target: int, path: str) -> None:
        for name in os.listdir(source):
            try:
                held = os.open(name, _HOLD, dir_fd=source)
            except FileNotFoundError:
                continue  # removed meanwhile
            try:
                self._entry(held, target, name, f"{path}/{name}" if path else name)
            finally:
                os.close(held)
        copy_attributes(source, target)

    def _entry(self, held: int, target: int, name: str, path: str) -> None:
        """Copy an open file to a name in the target."""
        status = os.fstat(held)
        if stat.S_ISDIR(status.st_mode):
            os.mkdir(name, 0o700, dir_fd=target)
            with _opened(os.open(".", _DIRECTORY, dir_fd=held)) as inner:
                with _opened(os.open(name, _DIRECTORY, dir_fd=target)) as made:
                    self.directory(inner, made, path)
            return
        if self._link_again(status, target, name):
            return
        with _opened(_make(held, status, target, name)) as made:
            copy_attributes(held, made)
            if status.st_nlink > 1:
                self._linked[_identity(status)] = path, _identity(os.fstat(made))

    def _link_again(self, status: os.stat_result, target: int, name: str) -> bool:
        """Create a hard link to an earlier copy, if that is still at its path."""
        path, copy = self._linked.get(_identity(status), ("", (0, 0)))
        if not path:
            return False
        try:
            first = open_beneath(self._top, path, os.O_PATH | os.O_NOFOLLOW)
        except KernelError as error:
            raise _changed(path) from error
        with _opened(first):
            if _identity(os.fstat(first)) != copy:
                raise _changed(path)
            os.link(f"/proc/self/fd/{first}", name, dst_dir_fd=target, follow_symlinks=True)
        return True


def _make(held: int, status: os.stat_result, target: int, name: str) -> int:
    """Create a copy of a file that is not a directory; returns its descriptor."""
    if stat.S_ISREG(status.st_mode):
        made = os.open(name, _NEW_FILE, 0o600, dir_fd=target)
        try:
            with _opened(os.open(f"/proc/self/fd/{held}", os.O_RDONLY | os.O_CLOEXEC)) as reading:
                _copy_content(reading, made)
        except BaseException:
            os.close(made)
            raise
        return made
    if stat.S_ISLNK(status.st_mode):
        os.symlink(os.readlink(b"", dir_fd=held), os.fsencode(name), dir_fd=target)
    else:  # a device, a FIFO or a socket: recreated, never opened
        kind = stat.S_IFMT(status.st_mode)
        os.mknod(name, kind | 0o600, status.st_rdev, dir_fd=target)
    made = os.open(name, _HOLD, dir_fd=target)
    now = os.fstat(made)
    if (stat.S_IFMT(now.st_mode), now.st_rdev) != (stat.S_IFMT(status.st_mode), status.st_rdev):
        os.close(made)
        raise _changed(name)
    return made


def _copy_content(reading: int, writing: int) -> None:
    """Copy a file's bytes; its holes stay holes."""
    size = os.fstat(reading).st_size
    os.ftruncate(writing, size)
    for start, end in _filled_ranges(reading, size):
        while start < end:
            chunk = os.pread(reading, min(end - start, _COPY_BYTES), start)
            if not chunk:
                return  # truncated meanwhile
            start += os.pwrite(writing, chunk, start)


def _filled_ranges(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield the data ranges of a file, as (start, end)."""
    end = 0
    while end < size:
        try:
            start = os.lseek(fd, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == ENXIO:  # only a hole up to the end
                return
            raise
        end = os.lseek(fd, start, os.SEEK_HOLE)
        yield start, end


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _changed(path: str) -> Conflict:
    return Conflict(
        f"{path!r} was changed while it was copied",
        hint="stop the containers that use these files, or try again",
    )


class _opened:
    """`with _opened(descriptor):` a descriptor that is closed after the block."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __enter__(self) -> int:
        return self._descriptor

    def __exit__(self, *error: object) -> None:
        os.close(self._descriptor)
