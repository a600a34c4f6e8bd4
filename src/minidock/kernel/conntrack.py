"""Connection tracking: what the kernel remembers of flows, and makes it forget.

NAT is decided by a flow's first packet; the others follow the tracked entry. For UDP a "flow" is
just packets with the same four numbers, so a client that keeps sending from one port stays bound
to what was decided before a port was published, or to a container that is gone, for as long as it
keeps on sending. Sources: conntrack(8), include/uapi/linux/netfilter/nfnetlink_conntrack.h.
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
    """Forget where UDP packets to a published port went so far, so that the rules decide anew.

    Without it: whoever goes on sending is led where the first packet went, to a container that is
    gone, for as long as it sends.

    Returns how many flows were forgotten.
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
    """A flow of UDP: who sends, from which port; to which address; who is to answer."""

    def __init__(self, original: bytes, reply: bytes) -> None:
        addresses = attributes(attributes(original).get(_CTA_TUPLE_IP, b""))
        ports = attributes(attributes(original).get(_CTA_TUPLE_PROTO, b""))
        answers = attributes(attributes(reply).get(_CTA_TUPLE_IP, b""))
        self.source = inet_ntoa(addresses[_CTA_IP_V4_SRC])
        self.source_port = int.from_bytes(ports[_CTA_PROTO_SRC_PORT], "big")
        self.destination = inet_ntoa(addresses[_CTA_IP_V4_DST])
        self.answered_by = inet_ntoa(answers[_CTA_IP_V4_SRC])


def udp_flows(host_port: int) -> list[Flow]:
    """The flows of UDP to a port, of this network namespace. Raises KernelError."""
    with Netlink(protocol=NETLINK_NETFILTER) as tracking:
        return [Flow(original, reply) for original, reply in _udp_flows(tracking, host_port)]


def _udp_flows(tracking: Netlink, host_port: int) -> Iterator[tuple[bytes, bytes]]:
    """The two tuples of each flow: as its first packet came, and as its answer does."""
    head = _NFGENMSG.pack(AF_INET, 0, 0)
    for message in tracking.dump(_GET, head, subject="conntrack"):
        flow = attributes(message, _NFGENMSG.size)
        original = flow.get(_CTA_TUPLE_ORIG, b"")
        protocol = attributes(attributes(original).get(_CTA_TUPLE_PROTO, b""))
        if protocol.get(_CTA_PROTO_NUM) != bytes([IPPROTO_UDP]):
            continue
        if protocol.get(_CTA_PROTO_DST_PORT) == host_port.to_bytes(2, "big"):
            yield original, flow.get(_CTA_TUPLE_REPLY, b"")
