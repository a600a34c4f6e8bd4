"""The interfaces of a network namespace, as views show them: names, addresses, the default route.

pyroute2 reads the kernel's messages here. To import it takes longer than a whole `run`, so what is
on the way of run, exec and stop asks by kernel/link.py. Both ask in the namespace that this process
is in, and change nothing. Sources: rtnetlink(7), ip-address(8), docs/decisions/0025.
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
    """All of them; their addresses of IPv4 come first."""
    with IPRoute() as kernel:
        for left in reversed(range(_ATTEMPTS)):
            try:
                links, addresses = list(kernel.get_links()), list(kernel.get_addr())
                break
            except NetlinkDumpInterrupted:  # a list changed while it was read
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
    """Where the default route of IPv4 leads; "" for none."""
    with IPRoute() as kernel:
        found = [route.get_attr("RTA_GATEWAY") for route in kernel.get_default_routes(family=2)]
    return str(found[0] or "") if found else ""
