"""The userland proxy for UDP: a socket per client, and replies from the address it has sent to.

UDP has no connections, so each client gets its own socket towards the container; replies on it go
to that client. A reply must come from the address that the client has sent to, or the client
discards it: IP_PKTINFO reads that address, and sets it for the reply.

A client is dropped after 90 seconds of silence (as in docker-proxy), or earlier if there are too
many. Sources: udp(7), ip(7) IP_PKTINFO, ipv6(7) IPV6_PKTINFO.
"""

from __future__ import annotations

from _socket import (
    AF_INET,
    AF_INET6,
    CMSG_SPACE,
    IPPROTO_IP,
    IPPROTO_IPV6,
    IPV6_PKTINFO,
    MSG_TRUNC,
    SOCK_CLOEXEC,
    SOCK_DGRAM,
    SOCK_NONBLOCK,
    socket,
)
from select import EPOLLIN
from time import monotonic

from minidock.kernel.port import IP_PKTINFO

TYPE_CHECKING = False
if TYPE_CHECKING:
    Sender = tuple[str, int] | tuple[str, int, int, int]  # of IPv4, of IPv6

    from minidock.engine.network.poll_set import PollSet

_MAX_DATAGRAM_BYTES = 1 << 16
_PKTINFO_BYTES = 20  # in6_pktinfo; in_pktinfo has 12
_MAX_DATAGRAMS_PER_EVENT = 64
_MAX_CLIENTS = 256
_IDLE_SECONDS = 90


class UdpProxy:
    """A held UDP port and its clients."""

    def __init__(self, held: socket, target: tuple[str, int], watched: PollSet) -> None:
        self._held = held
        self._target = target
        self._watched = watched
        self._clients: dict[tuple[Sender, bytes], _Client] = {}  # the longest silent first
        watched.watch(held, EPOLLIN, self._from_clients)

    def close(self) -> None:
        """Drop all clients."""
        for key in list(self._clients):
            self._forget(key)
        self._watched.watch(self._held, 0, self._from_clients)

    def _from_clients(self) -> None:
        for _ in range(_MAX_DATAGRAMS_PER_EVENT):
            try:
                data, extra, flags, sender = self._held.recvmsg(
                    _MAX_DATAGRAM_BYTES, CMSG_SPACE(_PKTINFO_BYTES)
                )
            except BlockingIOError:
                return
            except OSError:
                continue  # an ICMP error for an earlier reply: the client has gone
            if flags & MSG_TRUNC:
                continue
            try:
                client = self._client(sender, _asked_address(self._held, extra))
            except OSError:
                continue  # EMFILE, or no route to the container
            client.send(data)

    def _client(self, sender: Sender, asked: bytes) -> _Client:
        now = monotonic()
        for key, known in list(self._clients.items()):
            if now - known.heard < _IDLE_SECONDS and len(self._clients) < _MAX_CLIENTS:
                break
            self._forget(key)
        client = self._clients.pop((sender, asked), None)
        if client is None:
            client = _Client(self, sender, asked)
        self._clients[sender, asked] = client
        client.heard = now
        return client

    def _forget(self, key: tuple[Sender, bytes]) -> None:
        self._clients.pop(key).close()


class _Client:
    """One client's socket towards the container."""

    def __init__(self, proxy: UdpProxy, sender: Sender, asked: bytes) -> None:
        self._held = proxy._held
        self._watched = proxy._watched
        self._sender = sender
        self._asked = asked
        self.heard = 0.0
        self._container = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)
        self._container.connect(proxy._target)
        self._watched.watch(self._container, EPOLLIN, self._from_container)

    def send(self, data: bytes) -> None:
        """Forward a datagram; one that cannot be sent is lost, as UDP allows."""
        try:
            self._container.send(data)
        except OSError:
            return

    def close(self) -> None:
        """Close the socket; later replies are lost."""
        self._watched.watch(self._container, 0, self._from_container)
        self._container.close()

    def _from_container(self) -> None:
        try:
            data = self._container.recv(_MAX_DATAGRAM_BYTES)
            self._held.sendmsg([data], _from_address(self._held, self._asked), 0, self._sender)
        except OSError:
            return  # ECONNREFUSED: the container does not listen; or the client has gone
        self.heard = monotonic()


def _asked_address(held: socket, extra: list[tuple[int, int, bytes]]) -> bytes:
    """Return a datagram's destination address from its ancillary data; b"" if unknown."""
    for level, kind, data in extra:
        if (level, kind) == (IPPROTO_IPV6, IPV6_PKTINFO):
            return data[:_PKTINFO_BYTES]  # address, and the ifindex of a link-local one
        if (level, kind) == (IPPROTO_IP, IP_PKTINFO):
            return data[4:8]  # ipi_spec_dst
    return b""


def _from_address(held: socket, asked: bytes) -> list[tuple[int, int, bytes]]:
    """Return ancillary data that sets a datagram's source address."""
    if not asked:
        return []
    if held.family == AF_INET6:
        return [(IPPROTO_IPV6, IPV6_PKTINFO, asked)]
    return [(IPPROTO_IP, IP_PKTINFO, bytes(4) + asked + bytes(4))]
