"""The interfaces of a network namespace, for display: names, addresses, the default route.

pyroute2 parses the kernel's messages here. Its import takes longer than a whole `run`, so the code
of run, exec and stop uses kernel/link.py. Both read the namespace that this process is in, and
change nothing. Sources: rtnetlink(7), ip-address(8), docs/decisions/0025.
"""

from __future__ import annotations

from typing import TypedDict

from pyroute2 import IPRoute, NetlinkDumpInterrupted

IFF_UP = 0x1
_ATTEMPTS = 20


class Interface(TypedDict):
    """addresses: such as "172.17.0.2/16". peer_index: the index of a veth's other end, or 0."""

    name: str
    index: int
    up: bool
    addresses: list[str]
    peer_index: int


def interfaces() -> list[Interface]:
    """List all interfaces; IPv4 addresses come first."""
    with IPRoute() as kernel:
        for left in reversed(range(_ATTEMPTS)):
            try:
                links, addresses = list(kernel.get_links()), list(kernel.get_addr())
                break
            except NetlinkDumpInterrupted:  # it changed while it was read
                if not left:
                    raise
    return [
        Interface(
            name=each.get_attr("IFLA_IFNAME"),
            index=each["index"],
            up=bool(each["flags"] & IFF_UP),
            addresses=[
                f"{one.get_attr('IFA_LOCAL') or one.get_attr('IFA_ADDRESS')}/{one['prefixlen']}"
                for one in addresses
                if one["index"] == each["index"]
            ],
            peer_index=each.get_nested("IFLA_LINKINFO", "IFLA_INFO_KIND") == "veth"
            and each.get_attr("IFLA_LINK")
            or 0,
        )
        for each in links
    ]


def default_gateway() -> str:
    """Return the gateway of the IPv4 default route; "" if none."""
    with IPRoute() as kernel:
        found = [route.get_attr("RTA_GATEWAY") for route in kernel.get_default_routes(family=2)]
    return str(found[0] or "") if found else ""
