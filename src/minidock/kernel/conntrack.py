"""Connection tracking: list the flows that the kernel tracks, and delete entries.

A flow's first packet decides about NAT; the others follow the tracked entry. A UDP flow is just
packets with the same addresses and ports, so a client that keeps sending from one port stays bound
to the decision made before a port was published, or to a removed container, for as long as it
keeps sending. Sources: conntrack(8), include/uapi/linux/netfilter/nfnetlink_conntrack.h.
"""

from __future__ import annotations

from _socket import inet_ntoa
from errno import ENOENT
from struct import Struct

from minidock.errors import KernelError
from minidock.kernel.netlink import Netlink, attribute, attributes
from minidock.kernel.op import op

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

NETLINK_NETFILTER = 12
AF_INET = 2
IPPROTO_UDP = 17

_GET, _DELETE = 0x0101, 0x0102  # NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET, _DELETE
_CTA_TUPLE_ORIG, _CTA_TUPLE_REPLY = 1, 2
_CTA_TUPLE_IP, _CTA_TUPLE_PROTO = 1, 2
_CTA_IP_V4_SRC, _CTA_IP_V4_DST = 1, 2
_CTA_PROTO_NUM, _CTA_PROTO_SRC_PORT, _CTA_PROTO_DST_PORT = 1, 2, 3

_NFGENMSG = Struct("=BBH")  # family, version, resource id


def _forget_udp_sh(host_port: int) -> str:
    return f"conntrack -D -p udp --orig-port-dst {host_port}"


@op("conntrack(8)", twin=_forget_udp_sh)
def forget_udp(host_port: int) -> int:
    """Delete the tracked UDP flows to a published port, so that the new rules apply to them.

    Without it: a client that keeps sending reaches the destination of its first packet, a removed
    container, for as long as it sends.

    Returns how many flows were deleted.
    """
    head = _NFGENMSG.pack(AF_INET, 0, 0)
    forgotten = 0
    with Netlink(protocol=NETLINK_NETFILTER) as tracking:
        for flow, _ in _udp_flows(tracking, host_port):
            body = head + attribute(_CTA_TUPLE_ORIG | 0x8000, flow)
            try:
                tracking.request(_DELETE, 0, body, subject=f"flow to port {host_port}")
                forgotten += 1
            except KernelError as error:
                if error.errno != ENOENT:  # it has timed out meanwhile
                    raise
    return forgotten


class Flow:
    """A UDP flow: the client's address and port, the destination, and the address that answers."""

    def __init__(self, original: bytes, reply: bytes) -> None:
        addresses = attributes(attributes(original).get(_CTA_TUPLE_IP, b""))
        ports = attributes(attributes(original).get(_CTA_TUPLE_PROTO, b""))
        answers = attributes(attributes(reply).get(_CTA_TUPLE_IP, b""))
        self.source = inet_ntoa(addresses[_CTA_IP_V4_SRC])
        self.source_port = int.from_bytes(ports[_CTA_PROTO_SRC_PORT], "big")
        self.destination = inet_ntoa(addresses[_CTA_IP_V4_DST])
        self.answered_by = inet_ntoa(answers[_CTA_IP_V4_SRC])


def udp_flows(host_port: int) -> list[Flow]:
    """List the UDP flows to a port in this network namespace. Raises KernelError."""
    with Netlink(protocol=NETLINK_NETFILTER) as tracking:
        return [Flow(original, reply) for original, reply in _udp_flows(tracking, host_port)]


def _udp_flows(tracking: Netlink, host_port: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield the two tuples of each flow: its original direction and its reply direction."""
    head = _NFGENMSG.pack(AF_INET, 0, 0)
    for message in tracking.dump(_GET, head, subject="conntrack"):
        flow = attributes(message, _NFGENMSG.size)
        original = flow.get(_CTA_TUPLE_ORIG, b"")
        protocol = attributes(attributes(original).get(_CTA_TUPLE_PROTO, b""))
        if protocol.get(_CTA_PROTO_NUM) != bytes([IPPROTO_UDP]):
            continue
        if protocol.get(_CTA_PROTO_DST_PORT) == host_port.to_bytes(2, "big"):
            yield original, flow.get(_CTA_TUPLE_REPLY, b"")
