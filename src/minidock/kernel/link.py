"""Links, addresses and routes: what connects a network namespace to the world.

A container's network is made of few kernel objects, one op each, and each has its `ip` command:

    host:      a bridge (a switch)       ──── veth "cable", one end plugged into the bridge
    container: the cable's other end, eth0, with an address, and a default route to the bridge

`where` is the namespace that is spoken to: an open kernel.netlink.Netlink. Devices are named by
name; what the kernel made (an index) is what the journal shows.

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
    """What the kernel says of one device.

    index, name, kind ("bridge", "veth", "" for hardware), alias, flags (IFF_*), master (the index
    of the bridge that it is plugged into, 0 for none), far_end (of a cable: the other end's index,
    in whichever network namespace that is; 0 for none).
    """

    def __init__(self, message: bytes) -> None:
        _, _, self.index, self.flags, _ = _IFINFOMSG.unpack_from(message)
        found = attributes(message, _IFINFOMSG.size)
        self.name = _text(found.get(IFLA_IFNAME, b""))
        self.alias = _text(found.get(IFLA_IFALIAS, b""))
        self.kind = _text(attributes(found.get(IFLA_LINKINFO, b"")).get(IFLA_INFO_KIND, b""))
        self.master = _U32.unpack(found.get(IFLA_MASTER, b"\0\0\0\0"))[0]
        self.far_end = _U32.unpack(found.get(IFLA_LINK, b"\0\0\0\0"))[0]


def find(where: Netlink, device: str) -> Link | None:
    """The device of this name, or None where there is none."""
    body = _link(0) + _name(device)
    try:
        return Link(where.get(RTM_GETLINK, body, subject=device))
    except KernelError as error:
        if error.errno == ENODEV:
            return None
        raise


def require(where: Netlink, device: str) -> Link:
    """The device of this name.

    Raises KernelError ENODEV where there is none.
    """
    found = find(where, device)
    if found is None:
        raise KernelError("netlink(7)", device, ENODEV)
    return found


def every(where: Netlink) -> list[Link]:
    """All devices."""
    return [Link(message) for message in where.dump(RTM_GETLINK, _link(0), subject="link")]


def every_address(where: Netlink) -> list[tuple[int, str, int]]:
    """All IPv4 addresses: (index of the device, address, prefix length)."""
    found = []
    for message in where.dump(RTM_GETADDR, _IFADDRMSG.pack(AF_INET, 0, 0, 0, 0), subject="addr"):
        _, prefix, _, _, index = _IFADDRMSG.unpack_from(message)
        local = attributes(message, _IFADDRMSG.size).get(IFA_LOCAL)
        if local is not None:
            found.append((index, dotted(local), prefix))
    return found


def every_route(where: Netlink) -> list[tuple[str, int]]:
    """Destinations of all IPv4 routes, of every table, except the default's: (address, prefix)."""
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
    """Make a bridge: a switch in the kernel, into which the containers' cables are plugged.

    Without it: the host's ends of the cables lie side by side, and no container reaches its
    neighbour or a gateway.

    mac: its hardware address. Without a fixed one the bridge takes the lowest of its ports', and
    changes it when a container comes or goes, which sends the others' traffic astray for a while.
    Returns {"name", "ifindex"}. Raises KernelError EEXIST.
    """
    info = attribute(IFLA_INFO_KIND, b"bridge")
    body = _link(0) + _name(name) + _mac(mac) + attribute(IFLA_LINKINFO, info)
    return _make(where, name, body)


def _add_veth_sh(where: Netlink, name: str, *, bridge: str, peer: str, mac: str, pid: int) -> str:
    cable = f"link add name {quote(name)} master {quote(bridge)} type veth"
    return _ip(where, f"{cable} peer name {quote(peer)} address {mac} netns {pid}")


@op("veth(4)", twin=_add_veth_sh)
def add_veth(
    where: Netlink, name: str, *, bridge: str, peer: str, mac: str, pid: int
) -> dict[str, object]:
    """Lay a cable from the bridge into the container: two devices, each the other's far end.

    Without it: the container has its loopback device, and nobody to talk to.

    name: the host's end, plugged into `bridge`. peer: the container's end, which is made inside the
    namespace of process `pid` at once, so that it never exists on the host. Both are down: what
    they may not do is set before they carry anything.
    Returns {"name", "ifindex"} of the host's end. Raises KernelError: EEXIST, ESRCH (no such pid).
    """
    switch = require(where, bridge)
    inside = _link(0) + _name(peer) + _mac(mac) + attribute(IFLA_NET_NS_PID, _U32.pack(pid))
    info = attribute(IFLA_INFO_KIND, b"veth")
    info += attribute(IFLA_INFO_DATA, attribute(VETH_INFO_PEER, inside))
    body = _link(0) + _name(name) + attribute(IFLA_MASTER, _U32.pack(switch.index))
    return _make(where, name, body + attribute(IFLA_LINKINFO, info))


def _add_cable_sh(where: Netlink, name: str, *, peer: str, network: int) -> str:
    return _ip(where, f"link add name {quote(name)} type veth peer name {peer} netns next-door")


@op("veth(4)", twin=_add_cable_sh)
def add_cable(where: Netlink, name: str, *, peer: str, network: int) -> dict[str, object]:
    """Lay a cable into another network namespace, without a bridge in between.

    Without it: a machine next door cannot be played by a namespace, since nothing leads there.

    name: this end. peer: the far end, made in the namespace that the descriptor `network` is of.
    Both are down. Returns {"name", "ifindex"} of this end. Raises KernelError EEXIST.
    """
    far = _link(0) + _name(peer) + attribute(IFLA_NET_NS_FD, _U32.pack(network))
    info = attribute(IFLA_INFO_KIND, b"veth")
    info += attribute(IFLA_INFO_DATA, attribute(VETH_INFO_PEER, far))
    return _make(where, name, _link(0) + _name(name) + attribute(IFLA_LINKINFO, info))


def _set_up_sh(where: Netlink, device: str) -> str:
    return _ip(where, f"link set dev {quote(device)} up")


@op("ip-link(8)", twin=_set_up_sh)
def set_up(where: Netlink, device: str) -> None:
    """Switch a device on; until then it carries nothing, and no route may use it.

    Without it: each packet for the device is answered "Network is unreachable", also for 127.0.0.1
    where the device is lo.

    Raises KernelError ENODEV where there is no such device.
    """
    where.request(RTM_NEWLINK, 0, _link(0, IFF_UP) + _name(device), subject=f"{device} up")


def _set_alias_sh(where: Netlink, device: str, alias: str) -> str:
    return _ip(where, f"link set dev {quote(device)} alias {quote(alias)}")


@op("ip-link(8)", twin=_set_alias_sh)
def set_alias(where: Netlink, device: str, alias: str) -> None:
    """Write on a device whose it is, so that no one takes it for another's.

    Without it: after a crash nobody could tell whose bridge this is, and removing it might take
    away another program's network.

    alias: at most 255 bytes; `ip link` shows it.
    Raises KernelError ENODEV where there is no such device.
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
    the host which DNAT turns round to the sender.
    Raises KernelError ENODEV, or EINVAL where the device is not a port of a bridge.
    """
    _set_port(where, device, attribute(IFLA_BRPORT_MODE, b"\1"), subject=f"{device} hairpin")


def _set_isolated_sh(where: Netlink, device: str) -> str:
    return f"bridge link set dev {quote(device)} isolated on"


@op("bridge(8)", twin=_set_isolated_sh)
def set_isolated(where: Netlink, device: str) -> None:
    """Let a port of a bridge speak with the bridge itself, and with no other isolated port.

    Without it: containers on a network that forbids talk among them reach each other all the same:
    frames between two ports of one bridge need not pass the firewall.

    Raises KernelError ENODEV, or EINVAL where the device is not a port of a bridge.
    """
    _set_port(where, device, attribute(IFLA_BRPORT_ISOLATED, b"\1"), subject=f"{device} isolated")


def _set_mtu_sh(where: Netlink, device: str, mtu: int) -> str:
    return _ip(where, f"link set dev {quote(device)} mtu {mtu}")


@op("ip-link(8)", twin=_set_mtu_sh)
def set_mtu(where: Netlink, device: str, mtu: int) -> None:
    """Set how many bytes one packet of a device may have: where a tunnel follows, fewer fit.

    Without it: packets that are too large for the way get lost where ICMP is filtered: short
    answers arrive, long ones hang.

    Raises KernelError ENODEV, or EINVAL for a number that the device cannot have.
    """
    body = _link(0) + _name(device) + attribute(IFLA_MTU, _U32.pack(mtu))
    where.request(RTM_NEWLINK, 0, body, subject=f"{device} mtu {mtu}")


def _delete_sh(where: Netlink, device: str) -> str:
    return _ip(where, f"link delete dev {quote(device)}")


@op("ip-link(8)", twin=_delete_sh)
def delete(where: Netlink, device: str) -> bool:
    """Take a device away; of a veth, both ends go. What does not exist is gone already.

    Without it: the host's end stays plugged in after its container, and the next one of that name
    cannot be made.

    Returns whether it was there.
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
    """Give a device its IPv4 address; the kernel adds the route to its neighbours by itself.

    Without it: the device carries frames, and nobody can send an IP packet from it or to it.

    prefix: how many leading bits all neighbours share.
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
    """Send everything that is not for a neighbour to the gateway: the bridge's own address.

    Without it: the container reaches its neighbours, and for all else says "Network is
    unreachable".

    Raises KernelError: ENETUNREACH where the gateway is no neighbour, or the device is down.
    """
    _default_route(where, device, gateway, flags=NLM_F_CREATE | NLM_F_EXCL)


def _replace_default_route_sh(where: Netlink, device: str, gateway: str) -> str:
    return _ip(where, f"route replace default via {gateway} dev {quote(device)}")


@op("ip-route(8)", twin=_replace_default_route_sh)
def replace_default_route(where: Netlink, device: str, gateway: str) -> None:
    """Send everything that is not for a neighbour to another gateway than before, in one step.

    Without it: packets go on to the network that was left; were the old route deleted first, they
    would go nowhere for a moment.

    Raises KernelError: ENETUNREACH where the gateway is no neighbour, or the device is down.
    """
    _default_route(where, device, gateway, flags=NLM_F_CREATE | NLM_F_REPLACE)


def _delete_default_route_sh(where: Netlink) -> str:
    return _ip(where, "route delete default")


@op("ip-route(8)", twin=_delete_default_route_sh)
def delete_default_route(where: Netlink) -> bool:
    """Have no way out any more but to the neighbours; returns whether there was one.

    Without it: the container keeps its way to the world through a network that it was taken off.
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
    """The four bytes of an IPv4 address.

    Raises ValueError for what is not four numbers up to 255.
    """
    numbers = bytes(int(number) for number in address.split("."))
    if len(numbers) != 4:
        raise ValueError(f"{address!r} is not an IPv4 address")
    return numbers


def dotted(address: bytes) -> str:
    """An IPv4 address as people write it."""
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
    """The `ip` command, run in the namespace that the socket belongs to."""
    inside = f"nsenter --net={quote(str(where))} " if str(where) else ""
    return f"{inside}ip {command}"
