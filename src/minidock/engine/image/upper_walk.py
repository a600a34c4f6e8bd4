"""Walk a directory tree of a container that may be running.

The container can replace a directory by a symbolic link between two system calls. So directories
are opened component by component with O_NOFOLLOW; files are opened with O_NOFOLLOW and O_NONBLOCK,
and checked by fstat(2) after the open.

The walk keeps the parent directories of its position open, so that each file needs one lookup; in a
very deep tree, the outermost ones only.

Source: openat(2).
"""

from __future__ import annotations

import errno
import os
import stat

from minidock.engine.image.whiteout import is_whiteout
from minidock.errors import Conflict, StoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_DIRECTORIES_MAX = 200  # descriptors; a process may have 1024


class Entry:
    """One file of a tree.

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


class Tree:
    """A directory and all below it, open for reading: `with Tree(path) as tree:`.

    left_out: after a walk, the skipped paths.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.left_out: list[bytes] = []
        self._root = -1
        self._open_directories: dict[bytes, int] = {}  # the parents of the walk's position

    def __enter__(self) -> Self:
        try:
            self._root = os.open(self.path, _DIRECTORY)
        except OSError as error:
            raise StoreError(
                f"the container's files at {self.path} cannot be read: {error.strerror}"
            ) from None
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        for path in list(self._open_directories):
            self._release(path)
        os.close(self._root)

    def walk(self) -> Iterator[Entry]:
        """All entries in order of names, a directory before its contents."""
        self.left_out.clear()
        pending = [(b"", iter(self.names(b"")))]
        while pending:
            directory, names = pending[-1]
            name = next(names, None)
            if name is None:
                pending.pop()
                self._release(directory)
                continue
            path = directory + b"/" + name if directory else name
            entry = self.entry(path)
            if entry is None:
                continue
            if self.passes_over(entry):
                self.left_out.append(path)
                continue
            if entry.is_directory:
                self._hold(path)
            yield entry
            if entry.is_directory:
                pending.append((path, iter(self.names(path))))

    def open_file(self, entry: Entry) -> int:
        """Open a regular file. Raises Conflict if it was replaced meanwhile."""
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

    def read_link(self, entry: Entry) -> bytes:
        """The target of a symbolic link. Raises Conflict if it was replaced meanwhile."""
        with self.parent(entry.path) as (parent, name):
            try:
                return os.readlink(name, dir_fd=parent)
            except OSError:
                raise changed_meanwhile(entry.path) from None

    def open_directory(self, path: bytes) -> int:
        """Open a directory without following links. Raises Conflict if it was replaced."""
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
        """`with tree.parent(path) as (fd, name):` the parent directory of a file, and its name."""
        directory, _, name = path.rpartition(b"/")
        held = self._open_directories.get(directory) if directory else self._root
        return _Parent(self, directory, name, held)

    def _nearest(self, path: bytes) -> tuple[int, list[bytes]]:
        """The innermost open parent directory of a path, and the components below it."""
        rest: list[bytes] = []
        while path:
            if path in self._open_directories:
                return self._open_directories[path], rest
            path, _, name = path.rpartition(b"/")
            rest.insert(0, name)
        return self._root, rest

    def _hold(self, path: bytes) -> None:
        if (
            path not in self._open_directories
            and len(self._open_directories) < _OPEN_DIRECTORIES_MAX
        ):
            self._open_directories[path] = self.open_directory(path)

    def _release(self, path: bytes) -> None:
        if path in self._open_directories:
            os.close(self._open_directories.pop(path))

    def names(self, path: bytes) -> list[bytes]:
        fd = self.open_directory(path)
        try:
            return sorted(os.fsencode(name) for name in os.listdir(fd))
        finally:
            os.close(fd)

    def entry(self, path: bytes) -> Entry | None:
        """One entry; None if it was removed meanwhile."""
        with self.parent(path) as (parent, name):
            try:
                status = os.stat(name, dir_fd=parent, follow_symlinks=False)
            except FileNotFoundError:
                return None
        opaque = False
        if stat.S_ISDIR(status.st_mode):
            fd = self.open_directory(path)
            try:
                opaque = self.is_opaque(fd, path)
            finally:
                os.close(fd)
        return Entry(path, status, opaque=opaque)

    def passes_over(self, entry: Entry) -> bool:
        """Whether the walk skips an entry with all below it."""
        del entry
        return False

    def is_opaque(self, fd: int, path: bytes) -> bool:
        """Whether a directory is opaque: hides the lower ones of its name."""
        del fd, path
        return False


class _Parent:
    """A context manager for a directory's descriptor: the walk's own, or a new one."""

    def __init__(self, tree: Tree, directory: bytes, name: bytes, held: int | None) -> None:
        self._tree = tree
        self._directory = directory
        self._name = name
        self._open_directories = held
        self._opened = -1

    def __enter__(self) -> tuple[int, bytes]:
        if self._open_directories is not None:
            return self._open_directories, self._name
        self._opened = self._tree.open_directory(self._directory)
        return self._opened, self._name

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if self._opened >= 0:
            os.close(self._opened)


def changed_meanwhile(path: bytes) -> Conflict:
    """The error for a file that the container changed during the read."""
    return Conflict(
        f"{os.fsdecode(path)!r} changed while it was read",
        hint="the container is running; commit with --pause, or stop it first",
    )
