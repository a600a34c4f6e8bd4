"""flock(2) with a timeout, since the process that holds a lock may be stopped (SIGSTOP) for ever.

flock(2) itself waits without a limit, and does not say which process holds the lock. This module
polls instead. An error names the process that has held the lock for too long: STOPPED_SECONDS if it
is stopped, BUSY_SECONDS if it may be working. The time starts again whenever another process has
acquired the lock, so many waiting processes all get their turn.

    lock(fd, path)                 wait for the lock
    try_lock(fd)                   acquire it if it is free
    with limits(stopped=5, busy=20):       other limits, for all locks in the block
    with held(path):               this process has the lock already: `lock` returns at once

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
    """Acquire the lock of an open file if it is free; returns whether it was acquired."""
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def lock(fd: int, path: str, *, shared: bool = False) -> None:
    """Acquire the lock of an open file, waiting for its holder. path: the file, for the error.

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
    """Like `lock`, for a descriptor that is open only for its lock: on failure it is closed."""
    try:
        lock(fd, path, shared=shared)
    except BaseException:
        os.close(fd)
        raise


class limits:
    """In this block, wait for one holder of a lock no longer than this."""

    def __init__(self, *, stopped: float, busy: float) -> None:
        self._inside = [stopped, busy]

    def __enter__(self) -> None:
        self._outside = _limits[:]
        _limits[:] = self._inside

    def __exit__(self, *error: object) -> None:
        _limits[:] = self._outside


class held:
    """In this block, this process has the lock of a file already, by another descriptor.

    Otherwise it would wait for itself: to flock(2), each open file description is another holder.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> None:
        _held.add(self._path)

    def __exit__(self, *error: object) -> None:
        _held.discard(self._path)


class Patience:
    """A wait for a lock, which ends when one process has held it for too long."""

    def __init__(self, fd: int, path: str) -> None:
        self._fd = fd
        self._path = path
        self._holders: set[int] = set()
        self._since = self._looked = time.monotonic()
        self._stopped_seconds, self._busy_seconds = _limits

    def check(self) -> None:
        """Raise LockTimeout if one process has held the lock for too long."""
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
