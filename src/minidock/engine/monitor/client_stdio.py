"""The command's own stdin, stdout and stderr, read and written without blocking.

A relay of two directions must not block in one of them: the program at the other end may need the
other one first. poll(2) reports a ready descriptor, but a write larger than the free room still
blocks, and so does a read after another reader was faster. O_NONBLOCK prevents both, but it is a
flag of the open file description, which the caller shares: if we were killed before we reset it,
the caller's shell would fail with EAGAIN. So a pipe or terminal is opened again through
/proc/self/fd: the same pipe with an open file description of our own.

    pipe, FIFO, terminal    opened again with O_NONBLOCK
    socket                  cannot be opened again: send and recv with MSG_DONTWAIT
    file, other device      used unchanged: writes do not wait for a reader (the offset is shared)

If a pipe or terminal cannot be opened again (its other end has closed, no /proc), the descriptor is
used unchanged, with writes of at most PIPE_BUF after poll(2).

Sources: open(2) "Open file descriptions", pipe(7), proc_pid_fd(5), poll(2).
"""

from __future__ import annotations

import _socket
import os
import stat
from errno import EIO

from minidock.errors import OutputLost

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_PIPE_BUF = 4096  # a writable pipe has room for this
_NAMES = {1: "/dev/stdout", 2: "/dev/stderr"}
_TTYAUX_MAJOR = 5  # /dev/tty, /dev/console, /dev/ptmx: opening these again gives another terminal


def _reopen(descriptor: int, access: int) -> int:
    """Open the same pipe or terminal non-blocking; -1 if that is not possible."""
    status = os.fstat(descriptor)
    is_terminal = (
        stat.S_ISCHR(status.st_mode)
        and os.major(status.st_rdev) != _TTYAUX_MAJOR
        and os.isatty(descriptor)
    )
    if not (stat.S_ISFIFO(status.st_mode) or is_terminal):
        return -1
    flags = access | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        return os.open(f"/proc/self/fd/{descriptor}", flags)
    except OSError:
        return -1


class Input:
    """The caller's stdin. descriptor: to poll."""

    def __init__(self) -> None:
        self._owned = -1
        self._socket: _socket.socket | None = None
        if _is_socket(0):
            self._socket = _socket.socket(fileno=os.dup(0))
        elif _is_open(0):
            self._owned = _reopen(0, os.O_RDONLY)
        self.descriptor = self._owned if self._owned >= 0 else 0

    def read(self, size: int) -> bytes | None:
        """Read available data; b"" at the end, None if another reader was faster."""
        try:
            if self._socket is not None:
                return self._socket.recv(size, _socket.MSG_DONTWAIT)
            return os.read(self.descriptor, size)
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno != EIO and _is_open(0):
                raise
            return b""  # the terminal hung up, or stdin is closed

    def close(self) -> None:
        """Close our own descriptors only."""
        _close(self._owned, self._socket)


class Output:
    """A queue of data for the caller's stdout (1) and stderr (2), in order.

    waiting_bytes: the size of the queue.
    """

    def __init__(self) -> None:
        self.waiting_bytes = 0
        self._waiting: list[tuple[int, memoryview]] = []
        self._streams: dict[int, _Stream] = {}

    @property
    def descriptor(self) -> int:
        """The descriptor to poll for room; -1 if the queue is empty."""
        return self._stream(self._waiting[0][0]).descriptor if self._waiting else -1

    def add(self, stream: int, data: bytes) -> None:
        """Write data, now or when there is room."""
        self._waiting.append((stream, memoryview(data)))
        self.waiting_bytes += len(data)
        self.flush()

    def flush(self, *, ready: bool = False) -> None:
        """Write as much as there is room for. ready: poll(2) has just reported room.

        Raises OutputLost with EPIPE or ENOSPC.
        """
        while self._waiting:
            stream, data = self._waiting[0]
            output = self._stream(stream)
            if output.needs_poll and not ready:
                return
            try:
                written = output.write(data)
            except BlockingIOError:
                return
            except OSError as error:
                raise OutputLost(_NAMES[stream], error.errno or 0) from None
            ready = False
            self.waiting_bytes -= written
            if written == len(data):
                self._waiting.pop(0)
            else:
                self._waiting[0] = stream, data[written:]

    def close(self) -> None:
        """Close our own descriptors only."""
        for output in self._streams.values():
            output.close()

    def _stream(self, stream: int) -> _Stream:
        if stream not in self._streams:
            self._streams[stream] = _Stream(stream)
        return self._streams[stream]


class _Stream:
    """One of the caller's output streams. needs_poll: write only after poll(2)."""

    def __init__(self, stream: int) -> None:
        self._owned = -1
        self._socket: _socket.socket | None = None
        self._write_limit = 1 << 30
        self.needs_poll = False
        if _is_socket(stream):
            self._socket = _socket.socket(fileno=os.dup(stream))
        elif _is_open(stream):
            self._owned = _reopen(stream, os.O_WRONLY)
            mode = os.fstat(stream).st_mode
            if self._owned < 0 and (stat.S_ISFIFO(mode) or os.isatty(stream)):
                self.needs_poll, self._write_limit = True, _PIPE_BUF
        self.descriptor = self._owned if self._owned >= 0 else stream
        send: Callable[[memoryview], int] | None = None
        if self._socket is not None:
            socket = self._socket
            send = lambda data: socket.send(data, _socket.MSG_DONTWAIT)  # noqa: E731
        self._send = send

    def write(self, data: memoryview) -> int:
        if self._send is not None:
            return self._send(data)
        return os.write(self.descriptor, data[: self._write_limit])

    def close(self) -> None:
        _close(self._owned, self._socket)


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def _is_socket(descriptor: int) -> bool:
    return _is_open(descriptor) and stat.S_ISSOCK(os.fstat(descriptor).st_mode)


def _close(owned: int, socket: _socket.socket | None) -> None:
    if owned >= 0:
        os.close(owned)
    if socket is not None:
        socket.close()
