"""The relay: carries published connections that the firewall does not forward, by hand.

`localhost` may mean ::1, which iptables' IPv4 rules never see; and if somebody flushes the
firewall, the sockets that hold the ports begin to get the connections themselves. The monitor then
passes the bytes on, as Docker's userland proxy does, but in its own poll loop, without threads:

    client ──► held port ──► Relay ──► container:port        both directions, each with a buffer

Nothing ever blocks. A side that does not read fills its buffer, and then the other side is not read
either (backpressure, as TCP itself does it). The end of one direction is passed on and the other
goes on (half-close); a broken connection breaks the other one.

Everything hangs on one epoll descriptor: the owner polls `fd`, and calls `on_ready` when it is
readable. Sources: epoll(7), tcp(7), udp(7), ip(7) IP_PKTINFO, ipv6(7) IPV6_PKTINFO.
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

    from minidock.engine.network.ports import PublishedPort

_CHUNK_BYTES = 1 << 16
_ROUNDS = 16  # of reading and writing per connection and turn, so that none starves the others
_MOST_CONNECTIONS = 256  # of one port; each takes two of the 1024 descriptors that one may have
_RESET_ON_CLOSE = pack("=ii", 1, 0)  # struct linger: close sends RST, as a refused connection has


class UserlandProxy:
    """All published ports of one container, relayed.

    published: held ports; the relay does not close them. address: the container's.
    fd: readable when there is something to pass on.
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
        """Pass on what can be passed on now; call when `fd` is readable."""
        self._watched.handle()

    def close(self) -> None:
        """Break what is still connected, and let go of all but the held ports."""
        for part in self._parts:
            part.close()
        self._watched.close()


class _Listener:
    """A held TCP port: accepts, and connects each client to the container."""

    def __init__(self, held: socket, target: tuple[str, int], watched: PollSet) -> None:
        self._held = held
        self._target = target
        self._watched = watched
        self._connections: set[_Connection] = set()
        self._listen()

    def close(self) -> None:
        """Break this port's connections."""
        for connection in list(self._connections):
            connection.abort()
        self._watched.watch(self._held, 0, self._accept)

    def ended(self, connection: _Connection) -> None:
        """Forget a connection; there is room for another."""
        self._connections.discard(connection)
        self._listen()

    def _listen(self) -> None:
        """Accept, unless there are too many already: new clients wait in the kernel's queue."""
        room = len(self._connections) < _MOST_CONNECTIONS
        self._watched.watch(self._held, EPOLLIN if room else 0, self._accept)

    def _accept(self) -> None:
        try:
            server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)
            descriptor, _ = self._held._accept()  # type: ignore[attr-defined]
        except OSError as error:
            if error.errno in (EMFILE, ENFILE):  # no descriptor left: wait until a connection ends
                self._watched.watch(self._held, 0, self._accept)
            return  # else the client has given up meanwhile
        client = socket(self._held.family, SOCK_STREAM, 0, fileno=descriptor)
        client.setblocking(False)
        server.connect_ex(self._target)  # EINPROGRESS; how it went, SO_ERROR says later
        self._connections.add(_Connection(client, server, self._watched, self.ended))
        self._listen()


class _Direction:
    """What flows from one socket to the other: at most one chunk is in flight."""

    def __init__(self, source: socket, sink: socket) -> None:
        self._source = source
        self._sink = sink
        self._pending = b""
        self._at_end = False
        self.finished = False

    @property
    def wants_to_read(self) -> bool:
        """Whether bytes may come: not while some still wait to go."""
        return not self._pending and not self._at_end

    @property
    def wants_to_write(self) -> bool:
        """Whether bytes wait to go."""
        return bool(self._pending)

    def pump(self) -> None:
        """Read and write until one side would block; OSError where one is broken."""
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
            pass  # as much as there was, or as could be taken
        if self._at_end and not self._pending and not self.finished:
            self.finished = True
            self._sink.shutdown(SHUT_WR)


class _Connection:
    """A client and the container, with both directions between them."""

    def __init__(
        self,
        client: socket,
        server: socket,
        watched: PollSet,
        ended: Callable[[_Connection], None],
    ) -> None:
        self._client = client
        self._server = server
        self._watched = watched
        self._ended = ended
        self._there = _Direction(client, server)
        self._back = _Direction(server, client)
        watched.watch(server, EPOLLOUT, self._connected)

    def abort(self) -> None:
        """Break both sides, so that each sees that it was not a regular end."""
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
            self._there.pump()
            self._back.pump()
        except OSError:
            self.abort()
            return
        if self._there.finished and self._back.finished:
            self._close()
            return
        there, back = self._there, self._back
        self._watch(self._client, read=there.wants_to_read, write=back.wants_to_write)
        self._watch(self._server, read=back.wants_to_read, write=there.wants_to_write)

    def _watch(self, side: socket, *, read: bool, write: bool) -> None:
        events = (EPOLLIN if read else 0) | (EPOLLOUT if write else 0)
        self._watched.watch(side, events, self._pump)

    def _close(self) -> None:
        for side in (self._client, self._server):
            self._watched.watch(side, 0, self._pump)
            side.close()
        self._ended(self)
