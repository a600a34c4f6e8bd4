"""A full table of connection tracking, made by what conntrack(8) makes one entry with.

Source: include/uapi/linux/netfilter/nfnetlink_conntrack.h, nf_conntrack_common.h.
"""

from __future__ import annotations

import socket
import struct

_NEW = 0x0100  # NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW
_REQUEST_CREATE = 0x001 | 0x400
_SEEN_REPLY, _ASSURED, _CONFIRMED = 2, 4, 8  # the assured are not dropped for new ones
_NESTED = 0x8000
_NETLINK_NETFILTER = 12
_AT_ONCE = 500
_TIMEOUT_SECONDS = 120


def fill_connection_tracking(entries: int) -> None:
    """Track so many flows of UDP, in the network that this process is in."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as kernel:
        kernel.bind((0, 0))
        for first in range(0, entries, _AT_ONCE):
            numbers = range(first, min(first + _AT_ONCE, entries))
            kernel.send(b"".join(_entry(number) for number in numbers))


def _entry(number: int) -> bytes:
    client = struct.pack("!I", (10 << 24) + number)
    server = socket.inet_aton("203.0.113.1")
    body = struct.pack("!BBH", socket.AF_INET, 0, 0)
    body += _nested(1, _tuple(client, server, 1, 2)) + _nested(2, _tuple(server, client, 2, 1))
    body += _attribute(3, struct.pack("!I", _SEEN_REPLY | _ASSURED | _CONFIRMED))
    body += _attribute(7, struct.pack("!I", _TIMEOUT_SECONDS))
    return struct.pack("=IHHII", 16 + len(body), _NEW, _REQUEST_CREATE, number, 0) + body


def _tuple(source: bytes, destination: bytes, source_port: int, destination_port: int) -> bytes:
    ports = _attribute(1, bytes([socket.IPPROTO_UDP]))
    ports += _attribute(2, struct.pack("!H", source_port))
    ports += _attribute(3, struct.pack("!H", destination_port))
    return _nested(1, _attribute(1, source) + _attribute(2, destination)) + _nested(2, ports)


def _nested(kind: int, value: bytes) -> bytes:
    return _attribute(kind | _NESTED, value)


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)
