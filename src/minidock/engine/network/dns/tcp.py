"""The DNS server over TCP: for responses that do not fit into a datagram.

A length of two bytes precedes each message. A client may send several queries in sequence; those
that the records do not answer are forwarded on a new TCP connection, to one server after the other.
A connection that is idle for ten seconds is closed.

Source: RFC 1035 section 4.2.2.
"""

from __future__ import annotations

from _socket import SO_ERROR, SOCK_CLOEXEC, SOCK_STREAM, SOL_SOCKET, socket
from select import EPOLLIN, EPOLLOUT
from time import monotonic

from minidock.engine.network.dns import message as dns
from minidock.errors import MinidockError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from minidock.engine.network.poll_set import PollSet

    class Resolver(Protocol):
        """The part of a NameServer (server.py) that this module uses."""

        watched: PollSet
        upstream: list[tuple[str, bool]]

        def find(self, query: dns.Query) -> tuple[int, list[bytes]] | None: ...
        def upstream_socket(self, number: int, kind: int) -> socket | None: ...
        def wake_later(self) -> None: ...


DNS_PORT = 53
_CHUNK_BYTES = 1 << 16
_MAX_CLIENTS = 64
_IDLE_SECONDS = 10.0


class TcpListener:
    """Accepts TCP clients."""

    def __init__(self, server: Resolver, listening: socket) -> None:
        self.server = server
        self._listening = listening
        self._clients: set[_Client] = set()
        server.watched.watch(listening, EPOLLIN, self._accept)

    @property
    def busy(self) -> bool:
        """Whether a client is connected."""
        return bool(self._clients)

    def close_idle(self, now: float) -> None:
        """Close idle connections."""
        for client in list(self._clients):
            if client.heard + _IDLE_SECONDS < now:
                client.close()

    def close(self) -> None:
        """Close all connections."""
        for client in list(self._clients):
            client.close()
        self.server.watched.watch(self._listening, 0, self._accept)

    def forget(self, client: _Client) -> None:
        """Drop a closed client."""
        self._clients.discard(client)

    def _accept(self) -> None:
        try:
            descriptor, _ = self._listening._accept()  # type: ignore[attr-defined]
        except OSError:
            return
        connection = socket(self._listening.family, SOCK_STREAM | SOCK_CLOEXEC, 0, descriptor)
        if len(self._clients) >= _MAX_CLIENTS:
            connection.close()
            return
        connection.setblocking(False)
        self._clients.add(_Client(self, connection))
        self.server.wake_later()


class _Client:
    """A connected client; one query at a time."""

    def __init__(self, listener: TcpListener, connection: socket) -> None:
        self.heard = monotonic()
        self._listener = listener
        self._server = listener.server
        self._connection = connection
        self._received = b""
        self._to_send = b""
        self._passed: _ForwardedTcpQuery | None = None
        self._watch()

    def close(self) -> None:
        """Close the connection and its forwarded query."""
        if self._passed is not None:
            self._passed.close()
            self._passed = None
        self._server.watched.watch(self._connection, 0, self._ready)
        self._connection.close()
        self._listener.forget(self)

    def take(self, message: bytes) -> None:
        """Send a response, then handle the next query."""
        self._passed = None
        self.heard = monotonic()
        self._to_send += len(message).to_bytes(2, "big") + message
        self._ready()

    def _watch(self) -> None:
        waits = self._to_send or self._passed is not None
        events = EPOLLOUT if self._to_send else 0 if waits else EPOLLIN
        self._server.watched.watch(self._connection, events, self._ready)

    def _ready(self) -> None:
        try:
            if self._to_send:
                self._to_send = self._to_send[self._connection.send(self._to_send) :]
            elif self._passed is None:
                received = self._connection.recv(_CHUNK_BYTES)
                if not received:
                    self.close()
                    return
                self.heard = monotonic()
                self._received += received
        except BlockingIOError:
            pass
        except OSError:
            self.close()
            return
        if not self._to_send and self._passed is None and (asked := self._next_message()):
            self._ask(asked)
            return
        self._watch()

    def _next_message(self) -> bytes:
        """Return the next complete message; b"" for none."""
        size = int.from_bytes(self._received[:2], "big")
        if len(self._received) < 2 + size:
            return b""
        message, self._received = self._received[2 : 2 + size], self._received[2 + size :]
        return message

    def _ask(self, data: bytes) -> None:
        try:
            query = dns.Query(data)
        except ValueError:
            self.close()
            return
        found = self._server.find(query)
        if found is not None:
            code, answers = found
            self.take(dns.response(query, answers, code=code))
            return
        self._passed = _ForwardedTcpQuery(self, self._server, query, data)
        self._watch()
        self._passed.ask()


class _ForwardedTcpQuery:
    """A query that was forwarded by TCP, to one server after the other."""

    def __init__(self, client: _Client, server: Resolver, query: dns.Query, data: bytes) -> None:
        self._client = client
        self._server = server
        self._query = query
        self._to_send = len(data).to_bytes(2, "big") + data
        self._received = b""
        self._next = 0
        self._socket: socket | None = None

    def ask(self) -> None:
        """Connect to the next server; after the last one, respond with SERVFAIL."""
        self.close()
        self._received = b""
        try:
            asking = self._server.upstream_socket(self._next, SOCK_STREAM)
        except (OSError, MinidockError):
            asking = None
        if asking is None:
            self._client.take(dns.response(self._query, code=dns.SERVER_FAILURE))
            return
        address, _ = self._server.upstream[self._next]
        self._next += 1
        try:
            asking.connect_ex((address, DNS_PORT))  # EINPROGRESS; SO_ERROR has the result later
        except OSError:  # a link-local address of a missing device
            asking.close()
            self.ask()
            return
        self._socket = asking
        self._server.watched.watch(asking, EPOLLOUT, self._connected)

    def close(self) -> None:
        """Close the connection to the server."""
        if self._socket is not None:
            self._server.watched.watch(self._socket, 0, self._connected)
            self._socket.close()
            self._socket = None

    def _connected(self) -> None:
        assert self._socket is not None
        try:
            if self._socket.getsockopt(SOL_SOCKET, SO_ERROR):
                self.ask()
                return
            self._socket.send(self._to_send)  # a query fits into any socket's buffer
        except OSError:
            self.ask()
            return
        self._server.watched.watch(self._socket, EPOLLIN, self._on_answer)

    def _on_answer(self) -> None:
        assert self._socket is not None
        try:
            received = self._socket.recv(_CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError:
            received = b""
        if not received:
            self.ask()
            return
        self._received += received
        size = int.from_bytes(self._received[:2], "big")
        if len(self._received) < 2 or len(self._received) < 2 + size:
            return
        message = self._received[2 : 2 + size]
        if not dns.answers_to(message, self._query, self._query.id):
            self.ask()
            return
        self.close()
        self._client.take(message)
