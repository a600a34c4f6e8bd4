"""A client: the monitor's end of a connection to a command, which it never waits for.

Messages that the socket does not take yet are queued; protocol.py, "Flow control", limits them.
"""

from __future__ import annotations

from minidock.engine.monitor import protocol
from minidock.engine.monitor.poll_loop import READABLE, WRITABLE, Loop, ended

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable
    from typing import Protocol

    from minidock.document_types.message import Streams

    class Session(Protocol):
        """The session that a client is attached to (session.py)."""

        def leave(self, client: Client) -> None: ...
        def pace(self) -> None: ...


_PACKET_BYTES = 1024  # the kernel's overhead per message, at most


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
        self._closing = False
        self._broken = False  # EPIPE; its own messages may still be unread
        self._unacked_bytes = 0  # sent to it and not acknowledged
        self._unreported_bytes = 0  # read from it and not acknowledged yet
        socket.setblocking(False)
        protocol.grow_buffer(socket)
        loop.watch(socket.fileno(), READABLE, self._ready)

    def select_streams(self, attach: Streams | None) -> None:
        """Select the attached streams."""
        self.stdin = bool(attach and attach["stdin"])
        self.stdout = bool(attach and attach["stdout"])
        self.stderr = bool(attach and attach["stderr"])

    @property
    def window_is_full(self) -> bool:
        """Whether its window is full."""
        return self._unacked_bytes >= protocol.WINDOW_BYTES

    def reset_window(self) -> None:
        """Reset the window for the streams of another process."""
        self._unacked_bytes = self._unreported_bytes = 0

    def send_data(self, kind: bytes, data: bytes) -> None:
        """Send output of the process."""
        self._unacked_bytes += len(data)
        self.send(kind + data)

    def acknowledge(self, size_bytes: int) -> None:
        """Acknowledge stdin that the process has read."""
        self._unreported_bytes += size_bytes
        if self._unreported_bytes >= protocol.ACK_BYTES:
            size, self._unreported_bytes = self._unreported_bytes, 0
            self.send(protocol.ack(size))

    def send(self, packet: bytes) -> None:
        """Send a message, now or when the socket has room."""
        if self.socket.fileno() < 0 or self._broken:
            return
        self._backlog.append(packet)
        self._flush()

    def finish(self) -> None:
        """Close the connection once all queued messages are sent."""
        self._closing = True
        self.on_message = None
        if self.socket.fileno() >= 0:
            self._flush()

    @property
    def is_open(self) -> bool:
        return self.socket.fileno() >= 0

    def drain(self) -> None:
        """Put all queued messages into the socket buffer and close: the monitor is about to exit.

        The receiver can read them after the sender's exit. So a stopped command, or one whose own
        output is not read, does not delay the monitor.
        """
        if self.socket.fileno() < 0:
            return
        room = sum(2 * len(packet) + _PACKET_BYTES for packet in self._backlog)
        if room:
            protocol.grow_buffer(self.socket, protocol.BUFFER_BYTES + room)
        self._flush()
        self.close()

    def close(self) -> None:
        """Close the connection and detach from the session."""
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
            self._broken = True
            self._backlog.clear()
        if self._closing and not self._backlog:
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
            self._unacked_bytes -= protocol.acked_bytes(packet)
            if self.session is not None:
                self.session.pace()
        elif self.on_message is not None:
            self.on_message(self, packet)


class Listener:
    """The listening socket. on_client: called with each new client."""

    def __init__(self, loop: Loop, directory: str, on_client: Callable[[Client], None]) -> None:
        self._loop = loop
        self._on_client = on_client
        self._socket = protocol.listen(directory)
        loop.watch(self._socket.fileno(), READABLE, lambda events: self._accept())

    def _accept(self) -> bool:
        """Accept a connection; returns whether there was one."""
        try:
            client = Client(self._loop, protocol.accept(self._socket))
        except BlockingIOError:
            return False
        self._on_client(client)
        return True

    def close(self) -> None:
        """Accept the pending connections and close; call it once the path is unlinked."""
        while self._accept():
            pass
        self._loop.forget(self._socket.fileno())
        self._socket.close()
