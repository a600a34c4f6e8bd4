"""Walking a container's own layer, its overlay upperdir, while the container may be running.

What is in there belongs to the container, which can swap a directory for a symbolic link between
two of our calls. So each directory is opened component by component without following links, and
each file is opened without following, without blocking, and looked at again once it is open.

The walk holds the directories open that lead to where it is, so that each file costs one look and
not one for each directory above it; of a tree that is too deep for that, the outer ones only.

Left out are the mount points that starting a container leaves in its upperdir where the image has
none. Docker keeps them in an "init layer" below the container's own, so that there, too, neither
diff nor commit shows them.

Source: moby daemon/initlayer/setup_unix.go; openat(2); overlayfs.rst.
"""

from __future__ import annotations

import errno
import os
import stat

from minidock.engine.image.unpack import OPAQUE_XATTR, is_whiteout
from minidock.errors import Conflict, StoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

INIT_DIRECTORIES = frozenset((b"dev", b"dev/pts", b"dev/shm", b"etc", b"proc", b"sys"))
INIT_FILES = frozenset(
    (
        b".dockerenv",
        b"dev/console",
        b"etc/hostname",
        b"etc/hosts",
        b"etc/mtab",
        b"etc/resolv.conf",
    )
)
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_HELD_OPEN_MAX = 200  # descriptors; a process may have 1024
_REDIRECTS = ("trusted.overlay.redirect", "trusted.overlay.metacopy")


class UpperEntry:
    """One file of an upperdir.

    path: relative, bytes. status: its lstat. opaque: a directory that hides the lower one.
    """

    def __init__(self, path: bytes, status: os.stat_result, *, opaque: bool) -> None:
        self.path = path
        self.status = status
        self.opaque = opaque

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.status.st_mode)

    @property
    def is_whiteout(self) -> bool:
        return is_whiteout(self.status)


class Upper:
    """An upperdir, open for reading: `with Upper(path, lowers) as upper:`.

    lowers: the directories of the image's layers, lowest first.
    left_by_start: after a walk, the paths that it has left out.
    """

    def __init__(self, path: str, lowers: Sequence[str]) -> None:
        self.path = path
        self.left_by_start: list[bytes] = []
        self._lowers = [os.fsencode(lower) for lower in reversed(lowers)]
        self._root = -1
        self._held: dict[bytes, int] = {}  # the directories around the walk's place

    def __enter__(self) -> Upper:
        try:
            self._root = os.open(self.path, _DIRECTORY)
        except OSError as error:
            raise StoreError(
                f"the container's files at {self.path} cannot be read: {error.strerror}"
            ) from None
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        for path in list(self._held):
            self._let_go(path)
        os.close(self._root)

    def walk(self) -> Iterator[UpperEntry]:
        """All entries, each directory before what is in it, in the order of their names.

        What starting the container left (see the module) is left out.
        """
        self.left_by_start.clear()
        waiting = [(b"", iter(self._names(b"")))]
        while waiting:
            directory, names = waiting[-1]
            name = next(names, None)
            if name is None:
                waiting.pop()
                self._let_go(directory)
                continue
            path = directory + b"/" + name if directory else name
            entry = self._entry(path)
            if entry is None:
                continue
            if self._is_left_by_start(entry):
                self.left_by_start.append(path)
                continue
            if entry.is_directory:
                self._hold(path)
            yield entry
            if entry.is_directory:
                waiting.append((path, iter(self._names(path))))

    def open_file(self, entry: UpperEntry) -> int:
        """A descriptor of a regular file. Raises Conflict where it is none any more."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with self.parent(entry.path) as (parent, name):
            try:
                fd = os.open(name, flags, dir_fd=parent)
            except OSError:
                raise changed_meanwhile(entry.path) from None
        now = os.fstat(fd)
        if not stat.S_ISREG(now.st_mode) or now.st_ino != entry.status.st_ino:
            os.close(fd)
            raise changed_meanwhile(entry.path)
        return fd

    def read_link(self, entry: UpperEntry) -> bytes:
        """Where a symbolic link points to."""
        with self.parent(entry.path) as (parent, name):
            try:
                return os.readlink(name, dir_fd=parent)
            except OSError:
                raise changed_meanwhile(entry.path) from None

    def open_directory(self, path: bytes) -> int:
        """A descriptor of a directory, reached without following any link."""
        start, rest = self._nearest(path)
        fd = os.dup(start)
        for name in rest:
            try:
                inner = os.open(name, _DIRECTORY, dir_fd=fd)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                    raise changed_meanwhile(path) from None
                raise
            finally:
                os.close(fd)
            fd = inner
        return fd

    def parent(self, path: bytes) -> _Parent:
        """`with upper.parent(path) as (fd, name):` the directory around a file, and its name."""
        directory, _, name = path.rpartition(b"/")
        held = self._held.get(directory) if directory else self._root
        return _Parent(self, directory, name, held)

    def _nearest(self, path: bytes) -> tuple[int, list[bytes]]:
        """The innermost directory on the way to a path that is open, and the names from there."""
        rest: list[bytes] = []
        while path:
            if path in self._held:
                return self._held[path], rest
            path, _, name = path.rpartition(b"/")
            rest.insert(0, name)
        return self._root, rest

    def _hold(self, path: bytes) -> None:
        if path not in self._held and len(self._held) < _HELD_OPEN_MAX:
            self._held[path] = self.open_directory(path)

    def _let_go(self, path: bytes) -> None:
        if path in self._held:
            os.close(self._held.pop(path))

    def _names(self, path: bytes) -> list[bytes]:
        fd = self.open_directory(path)
        try:
            return sorted(os.fsencode(name) for name in os.listdir(fd))
        finally:
            os.close(fd)

    def _entry(self, path: bytes) -> UpperEntry | None:
        """One entry; None where it is gone already."""
        with self.parent(path) as (parent, name):
            try:
                status = os.stat(name, dir_fd=parent, follow_symlinks=False)
            except FileNotFoundError:
                return None
        opaque = False
        if stat.S_ISDIR(status.st_mode):
            fd = self.open_directory(path)
            try:
                opaque = self._is_opaque(fd, path)
            finally:
                os.close(fd)
        return UpperEntry(path, status, opaque=opaque)

    def _is_opaque(self, fd: int, path: bytes) -> bool:
        names = os.listxattr(fd)
        if any(name in names for name in _REDIRECTS):
            raise StoreError(
                f"{path!r} of the container was renamed by overlayfs's redirect_dir, which a layer "
                "cannot say",
                hint="echo N > /sys/module/overlay/parameters/redirect_dir, and start it again",
            )
        opaque = OPAQUE_XATTR.decode()
        return opaque in names and os.getxattr(fd, opaque) == b"y"

    def _is_left_by_start(self, entry: UpperEntry) -> bool:
        """Whether an entry is a mount point that the container's start made, or holds only such."""
        status = entry.status
        if entry.path in INIT_FILES:
            is_empty_file = stat.S_ISREG(status.st_mode) and not status.st_size
            return is_empty_file and self._in_image(entry.path) is None
        if entry.path not in INIT_DIRECTORIES or not entry.is_directory or entry.opaque:
            return False
        old = self._in_image(entry.path) or status
        if (old.st_mode, old.st_uid, old.st_gid) != (status.st_mode, status.st_uid, status.st_gid):
            return False
        for name in self._names(entry.path):
            inner = self._entry(entry.path + b"/" + name)
            if inner is not None and not self._is_left_by_start(inner):
                return False
        return True

    def _in_image(self, path: bytes) -> os.stat_result | None:
        """What the image has at a path, by its topmost layer that says anything of it."""
        for lower in self._lowers:
            try:
                status = os.lstat(lower + b"/" + path)
            except (FileNotFoundError, NotADirectoryError):
                continue
            return None if is_whiteout(status) else status
        return None


class _Parent:
    """A directory's descriptor for a block: the walk's own, or one that is opened for it."""

    def __init__(self, upper: Upper, directory: bytes, name: bytes, held: int | None) -> None:
        self._upper = upper
        self._directory = directory
        self._name = name
        self._held = held
        self._opened = -1

    def __enter__(self) -> tuple[int, bytes]:
        if self._held is not None:
            return self._held, self._name
        self._opened = self._upper.open_directory(self._directory)
        return self._opened, self._name

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if self._opened >= 0:
            os.close(self._opened)


def changed_meanwhile(path: bytes) -> Conflict:
    """The error for a file that the container has changed while it was being read."""
    return Conflict(
        f"{os.fsdecode(path)!r} changed while it was read",
        hint="the container is running; commit with --pause, or stop it first",
    )
