"""Two kinds of lock: a short one for an edit, and a long one for the ownership of a container.

`exclusive` is flock(2), held while files are read, changed and renamed; kernel/flock.py has the
timeouts.

`Ownership` is a POSIX record lock (fcntl(2)) on a container's monitor.lock. The kernel releases it
when its process dies in any way; fork does not inherit it, so init cannot keep it; and any process
can query its holder. So "is the monitor alive?" is answered without trusting a pid on disk. One
property is surprising: the lock is released when its process closes *any* descriptor of the file.
So a process that owns a container must not open that file again, not even for reading.

An owner that creates kernel objects leaves a mark in that file until it has removed them. A mark
without an owner means that a run was interrupted, and its leftovers must be removed. The mark can
contain how the run ended, if that could not be recorded elsewhere (container/repair.py).

Other contents of lock files are ignored. A file of another type in place of one raises DamagedFile,
and so does a missing one that must exist as long as its container.
"""

from __future__ import annotations

import fcntl
import os

from minidock.document import open_regular
from minidock.errors import DamagedFile
from minidock.kernel.flock import lock_or_close, try_lock

_NOTE_BYTES = 64 * 1024
_owned: set[str] = set()  # the files whose ownership this process holds


class exclusive:
    """Hold flock(2) on a file during the block; the file is created if missing.

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
    """Whether a process holds flock(2) on an open file; closes the descriptor."""
    try:
        return not try_lock(fd)
    finally:
        os.close(fd)


class Ownership:
    """The right to start, run or remove a container, as long as this process lives."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = -1

    def take(self) -> bool:
        """Acquire it if it is free; returns whether it was acquired.

        Raises FileNotFoundError if the container was removed, DamagedFile.
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
        """Record that kernel objects exist, which remain if this process is killed.

        note: for the process that cleans up.
        """
        os.pwrite(self._fd, b"!" + note, 0)
        os.ftruncate(self._fd, 1 + len(note))

    def note(self) -> bytes:
        """Return the note of the mark, from us or from the last owner."""
        return os.pread(self._fd, _NOTE_BYTES, 1)

    def clear_mark(self) -> None:
        """Record that they are removed."""
        os.ftruncate(self._fd, 0)

    def release(self) -> None:
        """Release it; the death of the process does so too."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            _owned.discard(self._path)


def _open_existing(path: str) -> int:
    """Open a container's monitor.lock; a newly created one would allow two owners."""
    try:
        return open_regular(path, os.O_RDWR)
    except FileNotFoundError:
        if os.path.isdir(os.path.dirname(path)):
            raise DamagedFile(path, "it is missing, but the container exists") from None
        raise


def is_owned(path: str) -> bool:
    """Whether this process owns the container."""
    return path in _owned


def is_marked(path: str) -> bool:
    """Whether an owner of this container created kernel objects and has not yet removed them."""
    try:
        return os.stat(path).st_size > 0
    except FileNotFoundError:
        return False


def owner_of(path: str) -> int:
    """Return the pid of a container's owner; 0 if there is none, or it is this process.

    Raises DamagedFile if it is unknown.

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
        lock = fcntl.fcntl(fd, fcntl.F_GETLK, asked)
    finally:
        os.close(fd)
    if int.from_bytes(lock[0:2], "little") == fcntl.F_UNLCK:
        return 0
    return int.from_bytes(lock[24:28], "little")
