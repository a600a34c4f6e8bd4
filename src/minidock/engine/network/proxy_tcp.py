"""The userland proxy: forwards connections to published ports that iptables does not forward.

`localhost` may resolve to ::1, which IPv4 rules do not match; and after a flush of the
firewall, the sockets that hold the ports accept the connections themselves. The monitor then
copies the data, as docker-proxy does, but in its own poll loop, without threads:

    client ──► held port ──► UserlandProxy ──► container:port     a buffer for each direction

No call blocks. If one side does not read, its buffer fills, and the proxy stops reading from the
other side (backpressure). The end of one direction is forwarded while the other continues
(half-close); a reset of one connection resets the other.

The owner polls `fd`, an epoll descriptor, and calls `on_ready` when it is readable. UDP:
proxy_udp.py. Sources: epoll(7), tcp(7).
"""

from __future__ import annotations

from _socket import (
    AF_INET,
    SHUT_WR,
    SO_ERROR,
    SO_LINGER,
    SOCK_CLOEXEC,
    SOCK_NONBLOCK,
    SOCK_STREAM,
    SOL_SOCKET,
    socket,
)
from errno import EMFILE, ENFILE
from select import EPOLLIN, EPOLLOUT
from struct import pack

from minidock.engine.network.poll_set import PollSet
from minidock.engine.network.proxy_udp import UdpProxy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from minidock.engine.network.published_ports import PublishedPort

_CHUNK_BYTES = 1 << 16
_ROUNDS = 16  # of reads and writes per connection and event, so that none starves the others
_MAX_CONNECTIONS = 256  # of a port; each takes two descriptors, of which a process may have 1024
_RESET_ON_CLOSE = pack("=ii", 1, 0)  # struct linger: close(2) sends RST, as a refused connection


class UserlandProxy:
    """Forwards all published ports of one container.

    published: held ports; the proxy does not close them. address: the container's.
    fd: readable when `on_ready` has something to do.
    """

    def __init__(self, published: Sequence[PublishedPort], address: str) -> None:
        self._watched = PollSet()
        self.fd = self._watched.fd
        self._parts: list[_Listener | UdpProxy] = []
        for each in published:
            target = (address, each.container_port)
            for port in each.held:
                kind = UdpProxy if port.protocol == "udp" else _Listener
                self._parts.append(kind(port.socket, target, self._watched))

    def on_ready(self) -> None:
        """Forward what is ready; call it when `fd` is readable."""
        self._watched.handle()

    def close(self) -> None:
        """Reset all connections and close all descriptors except the held ports."""
        for part in self._parts:
            part.close()
        self._watched.close()


class _Listener:
    """A held TCP port: accepts clients and connects each to the container."""

    def __init__(self, held: socket, target: tuple[str, int], watched: PollSet) -> None:
        self._held = held
        self._target = target
        self._watched = watched
        self._connections: set[_Connection] = set()
        self._listen()

    def close(self) -> None:
        """Reset this port's connections."""
        for connection in list(self._connections):
            connection.abort()
        self._watched.watch(self._held, 0, self._accept)

    def forget(self, connection: _Connection) -> None:
        """Drop a closed connection and accept again."""
        self._connections.discard(connection)
        self._listen()

    def _listen(self) -> None:
        """Accept below the limit of connections; above it, clients wait in the listen queue."""
        room = len(self._connections) < _MAX_CONNECTIONS
        self._watched.watch(self._held, EPOLLIN if room else 0, self._accept)

    def _accept(self) -> None:
        try:
            server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)
            descriptor, _ = self._held._accept()  # type: ignore[attr-defined]
        except OSError as error:
            if error.errno in (EMFILE, ENFILE):  # no descriptor left: wait until a connection ends
                self._watched.watch(self._held, 0, self._accept)
            return  # else the client has reset the connection meanwhile
        client = socket(self._held.family, SOCK_STREAM, 0, fileno=descriptor)
        client.setblocking(False)
        server.connect_ex(self._target)  # EINPROGRESS; SO_ERROR has the result later
        self._connections.add(_Connection(client, server, self._watched, self.forget))
        self._listen()


class _Direction:
    """Copies from one socket to the other; buffers at most one chunk."""

    def __init__(self, source: socket, sink: socket) -> None:
        self._source = source
        self._sink = sink
        self._pending = b""
        self._at_end = False
        self.finished = False

    @property
    def wants_to_read(self) -> bool:
        """Whether to read: not while the buffer holds data."""
        return not self._pending and not self._at_end

    @property
    def wants_to_write(self) -> bool:
        """Whether the buffer holds data."""
        return bool(self._pending)

    def pump(self) -> None:
        """Read and write until one side would block. Raises OSError if a connection is broken."""
        try:
            for _ in range(_ROUNDS):
                if self.wants_to_read:
                    self._pending = self._source.recv(_CHUNK_BYTES)
                    self._at_end = not self._pending
                if self._pending:
                    self._pending = self._pending[self._sink.send(self._pending) :]
                if self._at_end:
                    break
        except BlockingIOError:
            pass
        if self._at_end and not self._pending and not self.finished:
            self.finished = True
            self._sink.shutdown(SHUT_WR)


class _Connection:
    """A client's connection, its connection to the container, and both directions."""

    def __init__(
        self,
        client: socket,
        server: socket,
        watched: PollSet,
        on_close: Callable[[_Connection], None],
    ) -> None:
        self._client = client
        self._server = server
        self._watched = watched
        self._on_close = on_close
        self._request = _Direction(client, server)
        self._response = _Direction(server, client)
        watched.watch(server, EPOLLOUT, self._connected)

    def abort(self) -> None:
        """Close both connections with RST, so that neither side sees a regular end."""
        for side in (self._client, self._server):
            side.setsockopt(SOL_SOCKET, SO_LINGER, _RESET_ON_CLOSE)
        self._close()

    def _connected(self) -> None:
        if self._server.getsockopt(SOL_SOCKET, SO_ERROR):
            self.abort()  # the container does not listen
        else:
            self._pump()

    def _pump(self) -> None:
        try:
            self._request.pump()
            self._response.pump()
        except OSError:
            self.abort()
            return
        request, response = self._request, self._response
        if request.finished and response.finished:
            self._close()
            return
        self._watch(self._client, read=request.wants_to_read, write=response.wants_to_write)
        self._watch(self._server, read=response.wants_to_read, write=request.wants_to_write)

    def _watch(self, side: socket, *, read: bool, write: bool) -> None:
        events = (EPOLLIN if read else 0) | (EPOLLOUT if write else 0)
        self._watched.watch(side, events, self._pump)

    def _close(self) -> None:
        for side in (self._client, self._server):
            self._watched.watch(side, 0, self._pump)
            side.close()
        self._on_close(self)
