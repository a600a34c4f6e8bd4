"""flock(2), waited for with a limit: a process that holds a lock may be stopped (SIGSTOP) for ever.

flock(2) itself waits without a limit, and says nothing of whom it waits for. Here the lock is asked
for again and again. A process that has held it for too long is named in an error: for
STOPPED_SECONDS where it is stopped, for BUSY_SECONDS where it may be at work. The limit begins anew
whenever another process has got the lock: in a crowd each has its turn.

    lock(fd, path)                 wait for it
    try_lock(fd)                   take it if it is free
    with limits(stopped=5, busy=20):       other limits, for all that the block locks
    with held(path):               this process has the lock: whoever asks for it goes on

Source: flock(2); proc_locks(5).
"""

from __future__ import annotations

import fcntl
import os
import time

STOPPED_SECONDS, BUSY_SECONDS = 60.0, 600.0
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.001, 0.02
_LOOK_SECONDS = 0.5

_limits = [STOPPED_SECONDS, BUSY_SECONDS]
_held: set[str] = set()


def try_lock(fd: int, *, shared: bool = False) -> bool:
    """Take the lock of an open file if it is free; returns whether it is ours now."""
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def lock(fd: int, path: str, *, shared: bool = False) -> None:
    """Take the lock of an open file; its holder is waited for. path: the file, for the error.

    Raises LockTimeout, which names the process that holds it.
    """
    if path in _held:
        return
    if try_lock(fd, shared=shared):
        return
    patience, pause = Patience(fd, path), _FIRST_PAUSE_SECONDS
    while not try_lock(fd, shared=shared):
        patience.check()
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


def lock_or_close(fd: int, path: str, *, shared: bool = False) -> None:
    """The same for a descriptor that is there for its lock only: without it, it is closed."""
    try:
        lock(fd, path, shared=shared)
    except BaseException:
        os.close(fd)
        raise


class limits:
    """A block that waits for one holder of a lock no longer than this."""

    def __init__(self, *, stopped: float, busy: float) -> None:
        self._inside = [stopped, busy]

    def __enter__(self) -> None:
        self._outside = _limits[:]
        _limits[:] = self._inside

    def __exit__(self, *error: object) -> None:
        _limits[:] = self._outside


class held:
    """A block in which this process has the lock of a file already, by another descriptor.

    Without it, it would wait for itself: to flock(2), each opening of a file is another holder.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> None:
        _held.add(self._path)

    def __exit__(self, *error: object) -> None:
        _held.discard(self._path)


class Patience:
    """How long a lock is waited for: until one process has held it for too long."""

    def __init__(self, fd: int, path: str) -> None:
        self._fd = fd
        self._path = path
        self._holders: set[int] = set()
        self._since = self._looked = time.monotonic()
        self._stopped_seconds, self._busy_seconds = _limits

    def check(self) -> None:
        """Raise LockTimeout where it has been waited for long enough."""
        now = time.monotonic()
        if now - self._looked < _LOOK_SECONDS:
            return
        self._looked = now
        from minidock.kernel.flock_holders import are_stopped, holders, timeout_error

        status = os.fstat(self._fd)
        if not (current := holders(status)) & self._holders:
            self._since = now
        self._holders = current
        limit = self._stopped_seconds if are_stopped(current) else self._busy_seconds
        if now - self._since > limit:
            raise timeout_error(status, self._path)
