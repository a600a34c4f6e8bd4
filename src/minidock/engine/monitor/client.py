"""A client: a command at the other end of a connection to the monitor, which never waits for it.

What is sent and cannot go out yet stays here; how much data that may be: protocol.py, "Flow
control".
"""

from __future__ import annotations

from minidock.engine.monitor import protocol
from minidock.engine.monitor.poll_loop import READABLE, WRITABLE, Loop, ended

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable
    from typing import Any, Protocol

    class Session(Protocol):
        """The session that a client is attached to (session.py)."""

        def leave(self, client: Client) -> None: ...
        def pace(self) -> None: ...


_PACKET_BYTES = 1024  # what the kernel needs for a message beside its content, at most


class Client:
    """A command at the other end of a connection.

    stdin, stdout, stderr: what it attached to.
    """

    def __init__(self, loop: Loop, socket: _socket.socket) -> None:
        self.loop = loop
        self.socket = socket
        self.session: Session | None = None
        self.stdin = self.stdout = self.stderr = False
        self.on_message: Callable[[Client, bytes], None] | None = None
        self._backlog: list[bytes] = []
        self._ends = False
        self._has_gone = False  # it reads no more; what it sent before is still to be read
        self._untaken_bytes = 0  # sent to it, and not passed on by it yet
        self._unsaid_bytes = 0  # taken from it, and not told yet
        socket.setblocking(False)
        protocol.grow_buffer(socket)
        loop.watch(socket.fileno(), READABLE, self._ready)

    def wants(self, attach: dict[str, Any] | None) -> None:
        """Note which streams it attached to."""
        wanted = attach or {}
        self.stdin = bool(wanted.get("stdin"))
        self.stdout = bool(wanted.get("stdout"))
        self.stderr = bool(wanted.get("stderr"))

    @property
    def is_slow(self) -> bool:
        """Whether it has all the data that it has room for."""
        return self._untaken_bytes >= protocol.WINDOW_BYTES

    def begin(self) -> None:
        """A process's streams begin: nothing of an earlier one's counts."""
        self._untaken_bytes = self._unsaid_bytes = 0

    def send_data(self, kind: bytes, data: bytes) -> None:
        """Send what the process said."""
        self._untaken_bytes += len(data)
        self.send(kind + data)

    def take(self, size_bytes: int) -> None:
        """So much of its stdin has gone into the process: it may send as much again."""
        self._unsaid_bytes += size_bytes
        if self._unsaid_bytes >= protocol.ACK_BYTES:
            said, self._unsaid_bytes = self._unsaid_bytes, 0
            self.send(protocol.ack(said))

    def send(self, packet: bytes) -> None:
        """Send a message, now or when the command has room for it."""
        if self.socket.fileno() < 0 or self._has_gone:
            return
        self._backlog.append(packet)
        self._flush()

    def finish(self) -> None:
        """End the connection once the command has taken what is waiting for it."""
        self._ends = True
        self.on_message = None
        if self.socket.fileno() >= 0:
            self._flush()

    @property
    def is_open(self) -> bool:
        return self.socket.fileno() >= 0

    def drain(self) -> None:
        """Leave all that waits to the kernel, and close: the monitor is about to end.

        What was sent stays readable when the sender has gone. So nobody is waited for: not for a
        command that is stopped, nor for one whose own output nobody reads.
        """
        if self.socket.fileno() < 0:
            return
        room = sum(2 * len(packet) + _PACKET_BYTES for packet in self._backlog)
        if room:
            protocol.grow_buffer(self.socket, protocol.BUFFER_BYTES + room)
        self._flush()
        self.close()

    def close(self) -> None:
        """End the connection, and its session's interest in it."""
        if self.socket.fileno() < 0:
            return
        self.loop.forget(self.socket.fileno())
        self.socket.close()
        self._backlog.clear()
        if self.session is not None:
            self.session.leave(self)

    def _flush(self) -> None:
        try:
            while self._backlog:
                self.socket.send(self._backlog[0])
                self._backlog.pop(0)
        except BlockingIOError:
            pass
        except OSError:
            self._has_gone = True
            self._backlog.clear()
        if self._ends and not self._backlog:
            self.close()
            return
        self.loop.change(self.socket.fileno(), READABLE | (WRITABLE if self._backlog else 0))

    def _ready(self, events: int) -> None:
        if events & WRITABLE:
            self._flush()
        if self.socket.fileno() < 0 or not (events & READABLE or ended(events)):
            return
        try:
            packet = protocol.receive(self.socket, wait=False)
        except BlockingIOError:
            return
        except OSError:
            packet = b""
        if not packet:
            self.close()
        elif packet[:1] == protocol.ACK:
            self._untaken_bytes -= protocol.acked_bytes(packet)
            if self.session is not None:
                self.session.pace()
        elif self.on_message is not None:
            self.on_message(self, packet)


class Listener:
    """The socket at which commands connect. on_client: is given each of them."""

    def __init__(self, loop: Loop, directory: str, on_client: Callable[[Client], None]) -> None:
        self._loop = loop
        self._on_client = on_client
        self._socket = protocol.listen(directory)
        loop.watch(self._socket.fileno(), READABLE, lambda events: self._accept())

    def _accept(self) -> bool:
        """Take a command's connection; returns whether there was one."""
        try:
            client = Client(self._loop, protocol.accept(self._socket))
        except BlockingIOError:
            return False
        self._on_client(client)
        return True

    def close(self) -> None:
        """Once its path is gone: whoever has connected already is not turned away."""
        while self._accept():
            pass
        self._loop.forget(self._socket.fileno())
        self._socket.close()
