"""Links, addresses and routes: rtnetlink operations that connect a network namespace.

A container's network consists of few kernel objects; each op has its `ip` command:

    host:      a bridge (a switch)  ──── one end of a veth pair, attached to the bridge
    container: its peer, eth0, with an address, and a default route to the bridge

`where` is an open kernel.netlink.Netlink: it selects the network namespace. Devices are given by
name; the journal shows the ifindex that the kernel assigned.

Not here: which names, which addresses (engine/network/networks.py). Sources: rtnetlink(7),
ip-link(8), ip-address(8), ip-route(8), bridge(8), veth(4), include/uapi/linux/if_link.h.
"""

from __future__ import annotations

from errno import EINVAL, ENODEV, ESRCH
from struct import Struct

from minidock.errors import KernelError
from minidock.kernel.netlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    RTM_DELLINK,
    RTM_DELROUTE,
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_GETROUTE,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWROUTE,
    Netlink,
    attribute,
    attributes,
)
from minidock.kernel.op import op, quote

AF_UNSPEC, AF_INET = 0, 2
IFNAMSIZ = 16  # with the closing NUL: a device's name has 15 characters at most
IFF_UP = 0x1

IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINK, IFLA_MASTER, IFLA_LINKINFO = 1, 3, 4, 5, 10, 18
IFLA_NET_NS_PID, IFLA_IFALIAS, IFLA_NET_NS_FD = 19, 20, 28
IFLA_INFO_KIND, IFLA_INFO_DATA, IFLA_INFO_SLAVE_KIND, IFLA_INFO_SLAVE_DATA = 1, 2, 4, 5
VETH_INFO_PEER = 1
IFLA_BRPORT_MODE, IFLA_BRPORT_ISOLATED = 4, 33

IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST = 1, 2, 4
RTA_DST, RTA_OIF, RTA_GATEWAY = 1, 4, 5
RT_TABLE_MAIN, RTPROT_BOOT, RT_SCOPE_UNIVERSE, RTN_UNICAST = 254, 3, 0, 1

_IFINFOMSG = Struct("=BxHiII")  # family, type, index, flags, which flags to change
_IFADDRMSG = Struct("=BBBBi")  # family, prefix length, flags, scope, index
_RTMSG = Struct("=BBBBBBBBI")  # family, dst_len, src_len, tos, table, protocol, scope, type, flags
_U32 = Struct("=I")


class Link:
    """A network device.

    index, name, kind ("bridge", "veth", "" for hardware), alias, flags (IFF_*), master (ifindex of
    the bridge that it is attached to, 0 for none), peer_index (of a veth: the peer's ifindex in its
    own network namespace; 0 for none).
    """

    def __init__(self, message: bytes) -> None:
        _, _, self.index, self.flags, _ = _IFINFOMSG.unpack_from(message)
        found = attributes(message, _IFINFOMSG.size)
        self.name = _text(found.get(IFLA_IFNAME, b""))
        self.alias = _text(found.get(IFLA_IFALIAS, b""))
        self.kind = _text(attributes(found.get(IFLA_LINKINFO, b"")).get(IFLA_INFO_KIND, b""))
        self.master = _U32.unpack(found.get(IFLA_MASTER, b"\0\0\0\0"))[0]
        self.peer_index = _U32.unpack(found.get(IFLA_LINK, b"\0\0\0\0"))[0]


def find(where: Netlink, device: str) -> Link | None:
    """Return the device of this name; None if it does not exist."""
    body = _link(0) + _name(device)
    try:
        return Link(where.get(RTM_GETLINK, body, subject=device))
    except KernelError as error:
        if error.errno == ENODEV:
            return None
        raise


def require(where: Netlink, device: str) -> Link:
    """Return the device of this name.

    Raises KernelError ENODEV if it does not exist.
    """
    found = find(where, device)
    if found is None:
        raise KernelError("netlink(7)", device, ENODEV)
    return found


def list_links(where: Netlink) -> list[Link]:
    """List all devices."""
    return [Link(message) for message in where.dump(RTM_GETLINK, _link(0), subject="link")]


def list_addresses(where: Netlink) -> list[tuple[int, str, int]]:
    """List all IPv4 addresses: (ifindex, address, prefix length)."""
    found = []
    for message in where.dump(RTM_GETADDR, _IFADDRMSG.pack(AF_INET, 0, 0, 0, 0), subject="addr"):
        _, prefix, _, _, index = _IFADDRMSG.unpack_from(message)
        local = attributes(message, _IFADDRMSG.size).get(IFA_LOCAL)
        if local is not None:
            found.append((index, dotted(local), prefix))
    return found


def list_routes(where: Netlink) -> list[tuple[str, int]]:
    """List the destinations of all IPv4 routes of all tables: (address, prefix length).

    Default routes are left out."""
    found = []
    empty = _RTMSG.pack(AF_INET, 0, 0, 0, 0, 0, 0, 0, 0)
    for message in where.dump(RTM_GETROUTE, empty, subject="route"):
        destination = attributes(message, _RTMSG.size).get(RTA_DST)
        if destination is not None:
            found.append((dotted(destination), message[1]))
    return found


def _add_bridge_sh(where: Netlink, name: str, *, mac: str) -> str:
    return _ip(where, f"link add name {quote(name)} address {mac} type bridge")


@op("ip-link(8)", twin=_add_bridge_sh)
def add_bridge(where: Netlink, name: str, *, mac: str) -> dict[str, object]:
    """Create a bridge: a switch in the kernel, to which the containers' veth pairs are attached.

    Without it: the veth pairs are not connected to each other, and no container reaches its
    neighbour or a gateway.

    mac: its MAC address. Without a fixed one the bridge uses the lowest one of its ports and
    changes it when a container starts or ends, which interrupts the traffic of the others.
    Returns {"name", "ifindex"}. Raises KernelError EEXIST.
    """
    info = attribute(IFLA_INFO_KIND, b"bridge")
    body = _link(0) + _name(name) + _mac(mac) + attribute(IFLA_LINKINFO, info)
    return _make(where, name, body)


def _add_veth_sh(where: Netlink, name: str, *, bridge: str, peer: str, mac: str, pid: int) -> str:
    veth = f"link add name {quote(name)} master {quote(bridge)} type veth"
    return _ip(where, f"{veth} peer name {quote(peer)} address {mac} netns {pid}")


@op("veth(4)", twin=_add_veth_sh)
def add_veth(
    where: Netlink, name: str, *, bridge: str, peer: str, mac: str, pid: int
) -> dict[str, object]:
    """Create a veth pair, one end attached to the bridge, its peer in the container.

    Without it: the container has only its loopback device and reaches no other host.

    name: the host's end, attached to `bridge`. peer: the container's end, which the kernel creates
    in the network namespace of process `pid`, so that it never exists on the host. Both are down:
    they are configured before they forward packets.
    Returns {"name", "ifindex"} of the host's end. Raises KernelError: EEXIST, ESRCH (no such pid).
    """
    switch = require(where, bridge)
    inside = _link(0) + _name(peer) + _mac(mac) + attribute(IFLA_NET_NS_PID, _U32.pack(pid))
    info = attribute(IFLA_INFO_KIND, b"veth")
    info += attribute(IFLA_INFO_DATA, attribute(VETH_INFO_PEER, inside))
    body = _link(0) + _name(name) + attribute(IFLA_MASTER, _U32.pack(switch.index))
    return _make(where, name, body + attribute(IFLA_LINKINFO, info))


def _add_veth_pair_sh(where: Netlink, name: str, *, peer: str, network: int) -> str:
    return _ip(where, f"link add name {quote(name)} type veth peer name {peer} netns OTHER")


@op("veth(4)", twin=_add_veth_pair_sh)
def add_veth_pair(where: Netlink, name: str, *, peer: str, network: int) -> dict[str, object]:
    """Create a veth pair to another network namespace, without a bridge.

    Without it: a namespace cannot act as a neighbouring machine, since no link leads to it.

    name: this end. peer: the other end, in the namespace of the descriptor `network`. Both are
    down. Returns {"name", "ifindex"} of this end. Raises KernelError EEXIST.
    """
    other = _link(0) + _name(peer) + attribute(IFLA_NET_NS_FD, _U32.pack(network))
    info = attribute(IFLA_INFO_KIND, b"veth")
    info += attribute(IFLA_INFO_DATA, attribute(VETH_INFO_PEER, other))
    return _make(where, name, _link(0) + _name(name) + attribute(IFLA_LINKINFO, info))


def _set_up_sh(where: Netlink, device: str) -> str:
    return _ip(where, f"link set dev {quote(device)} up")


@op("ip-link(8)", twin=_set_up_sh)
def set_up(where: Netlink, device: str) -> None:
    """Set a device up; while it is down it carries no packets, and no route can use it.

    Without it: sending fails with "Network is unreachable", for lo also to 127.0.0.1.

    Raises KernelError ENODEV if the device does not exist.
    """
    where.request(RTM_NEWLINK, 0, _link(0, IFF_UP) + _name(device), subject=f"{device} up")


def _set_alias_sh(where: Netlink, device: str, alias: str) -> str:
    return _ip(where, f"link set dev {quote(device)} alias {quote(alias)}")


@op("ip-link(8)", twin=_set_alias_sh)
def set_alias(where: Netlink, device: str, alias: str) -> None:
    """Set a device's alias, which names its owner.

    Without it: after a crash the owner of the bridge is unknown, and removing it could remove
    another program's network.

    alias: at most 255 bytes; `ip link` shows it.
    Raises KernelError ENODEV if the device does not exist.
    """
    body = _link(0) + _name(device) + attribute(IFLA_IFALIAS, alias.encode())
    where.request(RTM_NEWLINK, 0, body, subject=f"{device} alias")


def _set_hairpin_sh(where: Netlink, device: str) -> str:
    return f"bridge link set dev {quote(device)} hairpin on"


@op("bridge(8)", twin=_set_hairpin_sh)
def set_hairpin(where: Netlink, device: str) -> None:
    """Let a frame leave the bridge by the port that it came in at.

    Without it: a container that asks for its own published port waits for an answer that the bridge
    never delivers.

    A switch never does that; but a container that calls its own published port sends a packet to
    the host, which DNAT redirects to the sender.
    Raises KernelError ENODEV, or EINVAL where the device is not a port of a bridge.
    """
    _set_port(where, device, attribute(IFLA_BRPORT_MODE, b"\1"), subject=f"{device} hairpin")


def _set_isolated_sh(where: Netlink, device: str) -> str:
    return f"bridge link set dev {quote(device)} isolated on"


@op("bridge(8)", twin=_set_isolated_sh)
def set_isolated(where: Netlink, device: str) -> None:
    """Isolate a port of a bridge: it reaches the bridge itself, but no other isolated port.

    Without it: containers reach each other on a network that forbids it (icc=false): frames between
    two ports of one bridge need not pass the firewall.

    Raises KernelError ENODEV, or EINVAL where the device is not a port of a bridge.
    """
    _set_port(where, device, attribute(IFLA_BRPORT_ISOLATED, b"\1"), subject=f"{device} isolated")


def _set_mtu_sh(where: Netlink, device: str, mtu: int) -> str:
    return _ip(where, f"link set dev {quote(device)} mtu {mtu}")


@op("ip-link(8)", twin=_set_mtu_sh)
def set_mtu(where: Netlink, device: str, mtu: int) -> None:
    """Set a device's MTU, the size limit of its packets: a tunnel on the way needs a smaller one.

    Without it: packets that are too large for the path get lost where ICMP is filtered: short
    answers arrive, long ones hang.

    Raises KernelError ENODEV, or EINVAL for an MTU that the device does not support.
    """
    body = _link(0) + _name(device) + attribute(IFLA_MTU, _U32.pack(mtu))
    where.request(RTM_NEWLINK, 0, body, subject=f"{device} mtu {mtu}")


def _delete_sh(where: Netlink, device: str) -> str:
    return _ip(where, f"link delete dev {quote(device)}")


@op("ip-link(8)", twin=_delete_sh)
def delete(where: Netlink, device: str) -> bool:
    """Delete a device; of a veth pair, both ends. Idempotent.

    Without it: the host's end stays attached after its container has ended, and another one of
    that name cannot be created.

    Returns whether it existed.
    """
    try:
        where.request(RTM_DELLINK, 0, _link(0) + _name(device), subject=device)
    except KernelError as error:
        if error.errno != ENODEV:
            raise
        return False
    return True


def _add_address_sh(where: Netlink, device: str, address: str, *, prefix: int) -> str:
    return _ip(where, f"address add {address}/{prefix} broadcast + dev {quote(device)}")


@op("ip-address(8)", twin=_add_address_sh)
def add_address(where: Netlink, device: str, address: str, *, prefix: int) -> None:
    """Add an IPv4 address to a device; the kernel adds the route to its neighbours.

    Without it: the device carries frames, but no IP packet can be sent from it or to it.

    prefix: the length of the network prefix, which all neighbours share.
    Raises KernelError: EEXIST, ENODEV.
    """
    local = packed(address)
    last = (int.from_bytes(local, "big") | (1 << 32 - prefix) - 1).to_bytes(4, "big")
    body = _IFADDRMSG.pack(AF_INET, prefix, 0, RT_SCOPE_UNIVERSE, require(where, device).index)
    body += attribute(IFA_LOCAL, local) + attribute(IFA_ADDRESS, local)
    body += attribute(IFA_BROADCAST, last)
    subject = f"{address}/{prefix} on {device}"
    where.request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, body, subject=subject)


def _add_default_route_sh(where: Netlink, device: str, gateway: str) -> str:
    return _ip(where, f"route add default via {gateway} dev {quote(device)}")


@op("ip-route(8)", twin=_add_default_route_sh)
def add_default_route(where: Netlink, device: str, gateway: str) -> None:
    """Send all packets that are not for a neighbour to the gateway: the bridge's own address.

    Without it: the container reaches its neighbours; any other address is "Network is unreachable".

    Raises KernelError: ENETUNREACH if the gateway is not a neighbour, or the device is down.
    """
    _default_route(where, device, gateway, flags=NLM_F_CREATE | NLM_F_EXCL)


def _replace_default_route_sh(where: Netlink, device: str, gateway: str) -> str:
    return _ip(where, f"route replace default via {gateway} dev {quote(device)}")


@op("ip-route(8)", twin=_replace_default_route_sh)
def replace_default_route(where: Netlink, device: str, gateway: str) -> None:
    """Send all packets that are not for a neighbour to another gateway than before, atomically.

    Without it: packets still go to the disconnected network; if the old route were deleted first,
    they would be dropped for a moment.

    Raises KernelError: ENETUNREACH if the gateway is not a neighbour, or the device is down.
    """
    _default_route(where, device, gateway, flags=NLM_F_CREATE | NLM_F_REPLACE)


def _delete_default_route_sh(where: Netlink) -> str:
    return _ip(where, "route delete default")


@op("ip-route(8)", twin=_delete_default_route_sh)
def delete_default_route(where: Netlink) -> bool:
    """Delete the default route; returns whether it existed.

    Without it: the container still sends packets through a network that it was disconnected from.
    """
    try:
        where.request(RTM_DELROUTE, 0, _any_destination(), subject="default")
    except KernelError as error:
        if error.errno != ESRCH:
            raise
        return False
    return True


def _default_route(where: Netlink, device: str, gateway: str, *, flags: int) -> None:
    body = _any_destination() + attribute(RTA_GATEWAY, packed(gateway))
    body += attribute(RTA_OIF, _U32.pack(require(where, device).index))
    where.request(RTM_NEWROUTE, flags, body, subject=f"default via {gateway} dev {device}")


def _any_destination() -> bytes:
    return _RTMSG.pack(
        AF_INET, 0, 0, 0, RT_TABLE_MAIN, RTPROT_BOOT, RT_SCOPE_UNIVERSE, RTN_UNICAST, 0
    )


def _set_port(where: Netlink, device: str, setting: bytes, *, subject: str) -> None:
    info = attribute(IFLA_INFO_SLAVE_KIND, b"bridge") + attribute(IFLA_INFO_SLAVE_DATA, setting)
    body = _link(0) + _name(device) + attribute(IFLA_LINKINFO, info)
    where.request(RTM_NEWLINK, 0, body, subject=subject)


def packed(address: str) -> bytes:
    """Convert an IPv4 address to its four bytes.

    Raises ValueError unless it is four numbers up to 255.
    """
    numbers = bytes(int(number) for number in address.split("."))
    if len(numbers) != 4:
        raise ValueError(f"{address!r} is not an IPv4 address")
    return numbers


def dotted(address: bytes) -> str:
    """Format an IPv4 address in dotted-decimal notation."""
    return ".".join(str(byte) for byte in address)


def _make(where: Netlink, name: str, body: bytes) -> dict[str, object]:
    where.request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body, subject=name)
    return {"name": name, "ifindex": require(where, name).index}


def _link(index: int, flags: int = 0) -> bytes:
    return _IFINFOMSG.pack(AF_UNSPEC, 0, index, flags, flags)


def _name(device: str) -> bytes:
    if not 0 < len(device.encode()) < IFNAMSIZ:
        raise KernelError("netlink(7)", device, EINVAL, hint="device names have 1 to 15 characters")
    return attribute(IFLA_IFNAME, device.encode() + b"\0")


def _mac(mac: str) -> bytes:
    return attribute(IFLA_ADDRESS, bytes.fromhex(mac.replace(":", "")))


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")


def _ip(where: Netlink, command: str) -> str:
    """Return the `ip` command, run in the socket's network namespace."""
    inside = f"nsenter --net={quote(str(where))} " if str(where) else ""
    return f"{inside}ip {command}"
