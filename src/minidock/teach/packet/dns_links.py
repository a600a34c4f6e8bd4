"""Check the path to a nameserver that does not answer: veth pair, ARP entries and routes.

    the container's eth0 → veth → bridge → this host's routes → the next hop's hardware address

Each check proves a fault or returns None. IPv4 only.

Sources: ip-route(8) "route get", ip-neighbour(8).
"""

from __future__ import annotations

from typing import NamedTuple

from minidock.engine.container.containers import Container
from minidock.engine.network.veth_pair import NetworkNamespace
from minidock.kernel import sysctl
from minidock.teach.packet.facts import Network, Route, read_network, route_get

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.document_types.network import Lease, NetworkDocument

FORWARDING = "net/ipv4/ip_forward"
_UNANSWERED = ("INCOMPLETE", "FAILED")


class Broken(NamedTuple):
    """A fault on the path, and how to fix it."""

    text: str
    advice: str


def broken(
    owner: Container, networks: list[NetworkDocument], server: str, *, from_host: bool
) -> Broken | None:
    """The first fault on the path from a container, or from this host, to a server."""
    if ":" in server:
        return None
    host = read_network()
    if from_host:
        return _route(route_get([server]), host, server)
    with NetworkNamespace(int(owner.state["Pid"])):
        inside, route = read_network(), route_get([server])
    network = next(
        (n for n in networks if n["Leases"][owner.id]["Interface"] == route.device), None
    )
    if network is None:
        return None
    lease = network["Leases"][owner.id]
    found = _veth(host, lease["Cable"], network["Device"], owner)
    found = found or _arp_inside(inside, host, route, network, owner)
    found = found or _arp_of_the_host(inside, host, lease, network["Device"], owner)
    if found or server in host.addresses:
        return found
    if sysctl.read(FORWARDING) == "0":
        text = f"IP forwarding is off (ip_forward is 0), and {server} is not this host"
        return Broken(text, "sysctl -w net.ipv4.ip_forward=1")
    there = route_get([server, "from", lease["Address"], "iif", network["Device"]])
    return _route(there, host, server)


def _veth(host: Network, veth: str, bridge: str, owner: Container) -> Broken | None:
    fault = host.veth_fault(veth, bridge, owner.name, up=(veth, bridge))
    return Broken(*fault) if fault else None


def _arp_inside(
    inside: Network, host: Network, route: Route, network: NetworkDocument, owner: Container
) -> Broken | None:
    """The container's ARP entry for its gateway, the bridge."""
    held = inside.neighbours.get(route.gateway, {}).get("lladdr", "")
    real = host.devices.get(network["Device"], {}).get("address", "")
    if route.gateway != network["Gateway"] or not held or not real or held == real:
        return None
    text = f"{owner.name}'s ARP entry maps its gateway {route.gateway} to {held}; {real} is"
    enter = f"nsenter --net=/proc/{owner.state['Pid']}/ns/net"
    return Broken(f"{text} right", f"{enter} ip neighbour del {route.gateway} dev {route.device}")


def _arp_of_the_host(
    inside: Network, host: Network, lease: Lease, bridge: str, owner: Container
) -> Broken | None:
    """The host's ARP entry for the container, which the answer needs."""
    address, interface = lease["Address"], lease["Interface"]
    held = host.neighbours.get(address, {}).get("lladdr", "")
    real = inside.devices.get(interface, {}).get("address", "")
    if not held or not real or held == real:
        return None
    text = (
        f"this host's ARP entry maps {address} to {held}, but the address is {real}, {owner.name}'s"
    )
    return Broken(f"{text} {interface}", f"ip neighbour del {address} dev {bridge}")


def _route(there: Route, host: Network, server: str) -> Broken | None:
    """This host's route to a server, and its next hop."""
    see = f"see: ip rule; ip route show table all match {server}"
    if there.refused:
        what = f"a route of this host drops it: {there.text}" if there.text else (
            f"this host has no route to {server}"
        )  # fmt: skip
        return Broken(f"{what} ({there.refused})", see)
    hop = there.gateway or server
    entry = host.neighbours.get(hop, {})
    if entry.get("dev") != there.device or not set(_UNANSWERED) & {*entry.get("state", ())}:
        return None
    text = f"no answer to this host's ARP request for {hop} on {there.device}"
    return Broken(text, f"ip neighbour show {hop}; is the machine up and on this network?")
