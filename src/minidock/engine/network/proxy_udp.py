"""The relay's datagram half: who asked, and by which of our addresses, is remembered per client.

UDP has no connections, so each client gets a socket of its own towards the container; what comes
back through it belongs to that client. The answer must leave from the address that was asked, or
the client would not take it for one: IP_PKTINFO tells which it was, and sets it again.

A client that has been silent for 90 seconds is forgotten (as in Docker's proxy), at the latest
when there are too many. Sources: udp(7), ip(7) IP_PKTINFO, ipv6(7) IPV6_PKTINFO.
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
    from typing import Any

    from minidock.engine.network.poll_set import PollSet

_LONGEST_DATAGRAM_BYTES = 1 << 16
_PKTINFO_BYTES = 20  # in6_pktinfo; in_pktinfo has 12
_DATAGRAMS_A_TURN = 64
_MOST_CLIENTS = 256
_SILENT_SECONDS = 90


class UdpProxy:
    """A held UDP port, and the clients that have used it."""

    def __init__(self, held: socket, target: tuple[str, int], watched: PollSet) -> None:
        self._held = held
        self._target = target
        self._watched = watched
        self._clients: dict[tuple[Any, bytes], _Client] = {}  # the longest silent first
        watched.watch(held, EPOLLIN, self._from_clients)

    def close(self) -> None:
        """Forget all clients."""
        for key in list(self._clients):
            self._forget(key)
        self._watched.watch(self._held, 0, self._from_clients)

    def _from_clients(self) -> None:
        for _ in range(_DATAGRAMS_A_TURN):
            try:
                data, extra, flags, sender = self._held.recvmsg(
                    _LONGEST_DATAGRAM_BYTES, CMSG_SPACE(_PKTINFO_BYTES)
                )
            except BlockingIOError:
                return
            except OSError:
                continue  # an earlier answer could not be delivered; that is the client's affair
            if flags & MSG_TRUNC:
                continue
            try:
                client = self._client(sender, _asked_address(self._held, extra))
            except OSError:
                continue  # no descriptor is left, or no way leads there
            client.send(data)

    def _client(self, sender: Any, asked: bytes) -> _Client:
        now = monotonic()
        for key, known in list(self._clients.items()):
            if now - known.heard < _SILENT_SECONDS and len(self._clients) < _MOST_CLIENTS:
                break
            self._forget(key)
        client = self._clients.pop((sender, asked), None)
        if client is None:
            client = _Client(self, sender, asked)
        self._clients[sender, asked] = client
        client.heard = now
        return client

    def _forget(self, key: tuple[Any, bytes]) -> None:
        self._clients.pop(key).close()


class _Client:
    """One client's way to the container and back."""

    def __init__(self, relay: UdpProxy, sender: Any, asked: bytes) -> None:
        self._held = relay._held
        self._watched = relay._watched
        self._sender = sender
        self._asked = asked
        self.heard = 0.0
        self._container = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)
        self._container.connect(relay._target)
        self._watched.watch(self._container, EPOLLIN, self._from_container)

    def send(self, data: bytes) -> None:
        """Pass a datagram on; what cannot be sent is lost, as datagrams may be."""
        try:
            self._container.send(data)
        except OSError:
            return

    def close(self) -> None:
        """No longer wait for answers."""
        self._watched.watch(self._container, 0, self._from_container)
        self._container.close()

    def _from_container(self) -> None:
        try:
            data = self._container.recv(_LONGEST_DATAGRAM_BYTES)
            self._held.sendmsg([data], _from_address(self._held, self._asked), 0, self._sender)
        except OSError:
            return  # ECONNREFUSED: nobody listens in there; or the client is gone
        self.heard = monotonic()


def _asked_address(held: socket, extra: list[tuple[int, int, bytes]]) -> bytes:
    """Which of our addresses a datagram was sent to, from its ancillary data; b"" if unknown."""
    for level, kind, data in extra:
        if (level, kind) == (IPPROTO_IPV6, IPV6_PKTINFO):
            return data[:_PKTINFO_BYTES]  # address, and the link that a link-local one is of
        if (level, kind) == (IPPROTO_IP, IP_PKTINFO):
            return data[4:8]  # ipi_spec_dst
    return b""


def _from_address(held: socket, asked: bytes) -> list[tuple[int, int, bytes]]:
    """Ancillary data that has a datagram leave from this address of ours."""
    if not asked:
        return []
    if held.family == AF_INET6:
        return [(IPPROTO_IPV6, IPV6_PKTINFO, asked)]
    return [(IPPROTO_IP, IP_PKTINFO, bytes(4) + asked + bytes(4))]
