"""The way to a name server that does not answer: cable, ARP entries and routes, as they are now.

    the container's eth0 → cable → bridge → this host's routes → the next hop's hardware address

Each thing that is looked at proves a cause, or says nothing. Only IPv4 is looked at.

Sources: ip-route(8) "route get", ip-neighbour(8).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from minidock.engine.container.containers import Container
from minidock.engine.network.endpoint import NetworkNamespace
from minidock.kernel import sysctl
from minidock.teach.packet.facts import Network, Route, read_network, route_get

FORWARDING = "net/ipv4/ip_forward"
_UNANSWERED = ("INCOMPLETE", "FAILED")


class Broken(NamedTuple):
    """What is wrong on the way, and what to do."""

    text: str
    advice: str


def broken(
    owner: Container, networks: list[dict[str, Any]], server: str, *, from_host: bool
) -> Broken | None:
    """The first thing that is wrong on the way from a container, or from this host, to a server."""
    if ":" in server:
        return None
    host = read_network()
    if from_host:
        return _route(route_get([server]), host, server)
    with NetworkNamespace(int(owner.state["Pid"])):
        inside, way = read_network(), route_get([server])
    network = next((n for n in networks if n["Leases"][owner.id]["Interface"] == way.device), None)
    if network is None:
        return None
    lease = network["Leases"][owner.id]
    found = _cable(host, lease["Cable"], network["Device"], owner)
    found = found or _arp_inside(inside, host, way, network, owner)
    found = found or _arp_of_the_host(inside, host, lease, network["Device"], owner)
    if found or server in host.addresses:
        return found
    if sysctl.read(FORWARDING) == "0":
        text = f"this machine forwards nothing (ip_forward is 0), and {server} is not its own"
        return Broken(text, "sysctl -w net.ipv4.ip_forward=1")
    there = route_get([server, "from", lease["Address"], "iif", network["Device"]])
    return _route(there, host, server)


def _cable(host: Network, cable: str, bridge: str, owner: Container) -> Broken | None:
    wrong = host.wrong_cable(cable, bridge, owner.name, up=(cable, bridge))
    return Broken(*wrong) if wrong else None


def _arp_inside(
    inside: Network, host: Network, way: Route, network: dict[str, Any], owner: Container
) -> Broken | None:
    """The container's entry for its gateway, which is the bridge."""
    held = inside.neighbours.get(way.gateway, {}).get("lladdr", "")
    real = host.devices.get(network["Device"], {}).get("address", "")
    if way.gateway != network["Gateway"] or not held or not real or held == real:
        return None
    text = f"{owner.name}'s ARP entry sends {way.gateway}, its gateway, to {held}; {real} would be"
    enter = f"nsenter --net=/proc/{owner.state['Pid']}/ns/net"
    return Broken(f"{text} right", f"{enter} ip neighbour del {way.gateway} dev {way.device}")


def _arp_of_the_host(
    inside: Network, host: Network, lease: dict[str, Any], bridge: str, owner: Container
) -> Broken | None:
    """The host's entry for the container: the answer's way."""
    address, interface = lease["Address"], lease["Interface"]
    held = host.neighbours.get(address, {}).get("lladdr", "")
    real = inside.devices.get(interface, {}).get("address", "")
    if not held or not real or held == real:
        return None
    text = (
        f"this host's ARP entry sends {address} to {held}, and that is not {real}, {owner.name}'s"
    )
    return Broken(f"{text} {interface}", f"ip neighbour del {address} dev {bridge}")


def _route(there: Route, host: Network, server: str) -> Broken | None:
    """This host's route to a server, and who is next on it."""
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
    text = f"nobody answers this host's ARP question for {hop} on {there.device}"
    return Broken(text, f"ip neighbour show {hop}; is it switched on, and on this network?")
