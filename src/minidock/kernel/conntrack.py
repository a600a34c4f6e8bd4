"""Connection tracking: what the kernel remembers of flows, and makes it forget.

NAT is decided by a flow's first packet; the others follow the tracked entry. For UDP a "flow" is
just packets with the same four numbers, so a client that keeps sending from one port stays bound
to what was decided before a port was published, or to a container that is gone, for as long as it
keeps on sending. Sources: conntrack(8), include/uapi/linux/netfilter/nfnetlink_conntrack.h.
"""

from __future__ import annotations

from struct import Struct

from minidock.errors import KernelError
from minidock.kernel.netlink import Netlink, attribute, attributes
from minidock.kernel.op import op

NETLINK_NETFILTER = 12
AF_INET = 2
IPPROTO_UDP = 17
ENOENT = 2

_GET, _DELETE = 0x0101, 0x0102  # NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET, _DELETE
_CTA_TUPLE_ORIG = 1
_CTA_TUPLE_PROTO = 2
_CTA_PROTO_NUM, _CTA_PROTO_DST_PORT = 1, 3

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
        for message in tracking.dump(_GET, head, subject="conntrack"):
            flow = attributes(message, _NFGENMSG.size).get(_CTA_TUPLE_ORIG, b"")
            protocol = attributes(attributes(flow).get(_CTA_TUPLE_PROTO, b""))
            if protocol.get(_CTA_PROTO_NUM) != bytes([IPPROTO_UDP]):
                continue
            if protocol.get(_CTA_PROTO_DST_PORT) != host_port.to_bytes(2, "big"):
                continue
            body = head + attribute(_CTA_TUPLE_ORIG | 0x8000, flow)
            try:
                tracking.request(_DELETE, 0, body, subject=f"flow to port {host_port}")
                forgotten += 1
            except KernelError as error:
                if error.errno != ENOENT:  # it has timed out meanwhile
                    raise
    return forgotten
