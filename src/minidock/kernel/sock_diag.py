"""Ports in use in this network namespace: the kernel's list of sockets, as `ss` reads it.

/proc/net/tcp6 does not show whether a socket at [::] also receives IPv4, and so whether 0.0.0.0 is
still free; this list does (INET_DIAG_SKV6ONLY). This module only reads.

Sources: sock_diag(7), include/uapi/linux/inet_diag.h, ip(7), ipv6(7) IPV6_V6ONLY.
"""

from __future__ import annotations

from _socket import AF_INET, AF_INET6, inet_ntop
from struct import Struct

from minidock.kernel.netlink import Netlink, attributes

NETLINK_SOCK_DIAG, _SOCK_DIAG_BY_FAMILY = 4, 20
_PROTOCOLS = {"tcp": 6, "udp": 17}
_LISTEN, _ALL = 1 << 10, 0xFFFFFFFF
_INET_DIAG_SKV6ONLY = 11
_REQUEST = Struct("=BBBxI48x")  # inet_diag_req_v2: family, protocol, extensions, states
_ANSWER = Struct("=4x2s2x16s16x4x8x20x")  # inet_diag_msg: only the local port and address


class BoundPort:
    """A port that a socket is bound to; is_both: at [::], for IPv6 and IPv4."""

    def __init__(self, address: str, port: int, *, is_both: bool) -> None:
        self.address = address
        self.port = port
        self.is_both = is_both

    def conflicts(self, address: str, port: int) -> bool:
        """Whether bind(2) to this address and port would be refused."""
        if port != self.port:
            return False
        if (":" in address) != (":" in self.address):
            return self.is_both and ":" not in address
        return address == self.address or {address, self.address} & {"0.0.0.0", "::"} != set()


def bound_ports(protocol: str) -> list[BoundPort]:
    """List the ports in use: for "tcp" those of listening sockets, for "udp" all.

    Raises KernelError if this kernel does not list its sockets.
    """
    states = _LISTEN if protocol == "tcp" else _ALL
    found = []
    with Netlink(protocol=NETLINK_SOCK_DIAG) as host:
        for family in (AF_INET, AF_INET6):
            body = _REQUEST.pack(family, _PROTOCOLS[protocol], 0, states)
            for message in host.dump(_SOCK_DIAG_BY_FAMILY, body, subject=f"{protocol} sockets"):
                found.append(_bound(message))
    return found


def _bound(message: bytes) -> BoundPort:
    port, address = _ANSWER.unpack_from(message)
    is_ipv6 = message[0] == AF_INET6
    only = attributes(message, _ANSWER.size).get(_INET_DIAG_SKV6ONLY, b"\0")[0]
    text = inet_ntop(AF_INET6, address) if is_ipv6 else inet_ntop(AF_INET, address[:4])
    is_both = is_ipv6 and text == "::" and not only
    return BoundPort(text, int.from_bytes(port, "big"), is_both=is_both)
