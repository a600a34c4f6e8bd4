"""Two kinds of lock: a short one around an edit, and a long one that says who owns a container.

`exclusive` is flock(2), held for the moments in which files are read, changed and renamed; how long
it is waited for: kernel/flock.py.

`Ownership` is a POSIX record lock (fcntl(2)) on a container's monitor.lock. The kernel drops it
when its process dies, however it dies; it is not inherited by fork, so init cannot keep it; and
anybody can ask who holds it. So "does the monitor live?" is answered without trusting a pid on
disk. One thing is strange about it: the lock goes with the *first* descriptor of the file that its
process closes. So a process that owns a container does not open that file again, not even to look.

An owner that makes things in the kernel leaves a mark in that file until it has released them. A
mark without an owner says that a run was cut short, and that its remains are to be cleared. With it
may stand how the run ended, where that could not be written anywhere else (container/repair.py).

What else the files of locks hold is nobody's matter; but what stands in the place of one and is no
regular file raises DamagedFile, as does the lack of one that is there as long as its container.
"""

from __future__ import annotations

import fcntl
import os

from minidock.document import open_regular
from minidock.errors import DamagedFile
from minidock.kernel.flock import lock_or_close, try_lock

_NOTE_BYTES = 64 * 1024
_owned: set[str] = set()  # the files on which this process holds an ownership


class exclusive:
    """Hold flock(2) on a file, made if missing, while the block runs.

    Raises LockTimeout.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> None:
        self._fd = open_regular(self._path, os.O_CREAT | os.O_RDWR)
        lock_or_close(self._fd, self._path)

    def __exit__(self, *error: object) -> None:
        os.close(self._fd)


def is_held(fd: int) -> bool:
    """Whether somebody holds flock(2) on an open file; closes the descriptor."""
    try:
        return not try_lock(fd)
    finally:
        os.close(fd)


class Ownership:
    """The right to start, run or remove a container, for as long as this process lives."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = -1

    def take(self) -> bool:
        """Take it if it is free; returns whether it is ours now.

        Raises FileNotFoundError where the container has been removed, DamagedFile.
        """
        if self._path in _owned:
            return False
        fd = _open_existing(self._path)
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            return False
        if os.fstat(fd).st_nlink == 0:
            os.close(fd)
            raise FileNotFoundError(self._path)
        self._fd = fd
        _owned.add(self._path)
        return True

    def mark(self, note: bytes = b"") -> None:
        """Note that things are being made that outlive this process if it is killed.

        note: for who clears them away.
        """
        os.pwrite(self._fd, b"!" + note, 0)
        os.ftruncate(self._fd, 1 + len(note))

    def note(self) -> bytes:
        """What was noted with the mark, by us or by the last owner."""
        return os.pread(self._fd, _NOTE_BYTES, 1)

    def clear_mark(self) -> None:
        """Note that they are unmade again."""
        os.ftruncate(self._fd, 0)

    def release(self) -> None:
        """Give it back; the process's death does so too."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            _owned.discard(self._path)


def _open_existing(path: str) -> int:
    """Open a container's monitor.lock: whoever made another one would own what another owns."""
    try:
        return open_regular(path, os.O_RDWR)
    except FileNotFoundError:
        if os.path.isdir(os.path.dirname(path)):
            raise DamagedFile(path, "it is missing, and the container exists") from None
        raise


def is_owned(path: str) -> bool:
    """Whether this process owns the container."""
    return path in _owned


def is_marked(path: str) -> bool:
    """Whether an owner of this container made things in the kernel, and did not unmake them yet."""
    try:
        return os.stat(path).st_size > 0
    except FileNotFoundError:
        return False


def owner_of(path: str) -> int:
    """The pid that holds a container's ownership; 0 where nobody does, or it is this process.

    Raises DamagedFile: then nobody knows.

    Source: fcntl(2) F_GETLK; struct flock of 64-bit Linux: type, whence, start, length, pid.
    """
    if path in _owned:
        return 0
    try:
        fd = _open_existing(path)
    except FileNotFoundError:
        return 0
    try:
        asked = fcntl.F_WRLCK.to_bytes(2, "little") + bytes(30)
        told = fcntl.fcntl(fd, fcntl.F_GETLK, asked)
    finally:
        os.close(fd)
    if int.from_bytes(told[0:2], "little") == fcntl.F_UNLCK:
        return 0
    return int.from_bytes(told[24:28], "little")
