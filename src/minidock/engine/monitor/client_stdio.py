"""The caller's own stdin, stdout and stderr, read and written without ever waiting.

Whoever carries bytes in two directions must not wait in one of them: the program at the other end
may need the other one first. poll(2) tells when a descriptor is ready, but a write of more than the
room that there is waits all the same, and so does a read that another reader was quicker at.
O_NONBLOCK ends that. It is a flag of the open file description, which the caller shares with us:
were we killed before we undid it, the caller's shell would fail with EAGAIN. So a pipe or terminal
is opened again through /proc/self/fd: the same pipe, but a description and flags of our own.

    pipe, FIFO, terminal    opened again with O_NONBLOCK
    socket                  cannot be opened again: send and recv with MSG_DONTWAIT
    file, other device      never makes a writer wait for a reader: as it is (its offset is shared)

Where a pipe or terminal cannot be opened again (its other end has gone, no /proc), the descriptor
is used as it is, for as much at a time as poll(2) promises room for.

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

_PIPE_BUF = 4096  # a pipe that is writable has room for as much
_NAMES = {1: "/dev/stdout", 2: "/dev/stderr"}
_TTYAUX_MAJOR = 5  # /dev/tty, /dev/console, /dev/ptmx: opened again, these are something else


def _own_description(descriptor: int, access: int) -> int:
    """A non-blocking descriptor of the same pipe or terminal; -1 where there is none."""
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
    """The caller's stdin. descriptor: to be polled."""

    def __init__(self) -> None:
        self._owned = -1
        self._socket: _socket.socket | None = None
        if _is_socket(0):
            self._socket = _socket.socket(fileno=os.dup(0))
        elif _is_open(0):
            self._owned = _own_description(0, os.O_RDONLY)
        self.descriptor = self._owned if self._owned >= 0 else 0

    def read(self, most: int) -> bytes | None:
        """What has come by now, b"" at the end; None where somebody else was quicker."""
        try:
            if self._socket is not None:
                return self._socket.recv(most, _socket.MSG_DONTWAIT)
            return os.read(self.descriptor, most)
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno != EIO and _is_open(0):
                raise
            return b""  # the terminal was hung up; or there is no stdin

    def close(self) -> None:
        """Close what is ours; the caller's stays."""
        _close(self._owned, self._socket)


class Output:
    """What is to be written to the caller's stdout (1) and stderr (2), in the order of its coming.

    waiting_bytes: what has not been written yet.
    """

    def __init__(self) -> None:
        self.waiting_bytes = 0
        self._waiting: list[tuple[int, memoryview]] = []
        self._streams: dict[int, _Stream] = {}

    @property
    def descriptor(self) -> int:
        """What to poll for room; -1 where nothing waits."""
        return self._stream(self._waiting[0][0]).descriptor if self._waiting else -1

    def add(self, stream: int, data: bytes) -> None:
        """Write it, now or when there is room."""
        self._waiting.append((stream, memoryview(data)))
        self.waiting_bytes += len(data)
        self.flush()

    def flush(self, *, ready: bool = False) -> None:
        """Write what there is room for. ready: poll(2) has just said that there is some.

        Raises OutputLost: EPIPE where nobody reads any more, ENOSPC.
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
        """Close what is ours; the caller's stay."""
        for output in self._streams.values():
            output.close()

    def _stream(self, stream: int) -> _Stream:
        if stream not in self._streams:
            self._streams[stream] = _Stream(stream)
        return self._streams[stream]


class _Stream:
    """How one of the caller's streams is written to. needs_poll: a write may wait without it."""

    def __init__(self, stream: int) -> None:
        self._owned = -1
        self._socket: _socket.socket | None = None
        self._most = 1 << 30
        self.needs_poll = False
        if _is_socket(stream):
            self._socket = _socket.socket(fileno=os.dup(stream))
        elif _is_open(stream):
            self._owned = _own_description(stream, os.O_WRONLY)
            mode = os.fstat(stream).st_mode
            if self._owned < 0 and (stat.S_ISFIFO(mode) or os.isatty(stream)):
                self.needs_poll, self._most = True, _PIPE_BUF
        self.descriptor = self._owned if self._owned >= 0 else stream
        send: Callable[[memoryview], int] | None = None
        if self._socket is not None:
            socket = self._socket
            send = lambda data: socket.send(data, _socket.MSG_DONTWAIT)  # noqa: E731
        self._send = send

    def write(self, data: memoryview) -> int:
        if self._send is not None:
            return self._send(data)
        return os.write(self.descriptor, data[: self._most])

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
