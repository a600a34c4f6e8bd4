"""The probes of lab 07: real connections between the host, the boxes and the LAN.

One box runs all the time; a probe that needs a second one starts it. The exam creates its sockets
inside the boxes' network namespaces itself, so the command in a box is only a sleep.
"""

import json
import signal
from dataclasses import dataclass
from typing import Any

from minidock.teach.lab.exam import (
    Exam,
    Failure,
    Neighbour,
    Network,
    RunningBox,
    Sandbox,
    scene,
)

BRIDGE, GATEWAY = "br7", "172.30.0.1"
FIRST, SECOND, THIRD, FOURTH = "172.30.0.2", "172.30.0.3", "172.30.0.4", "172.30.0.5"


@dataclass
class Box:
    """A running box, the host that it is on, and the network that its command is in."""

    sandbox: Sandbox
    running: RunningBox
    net: Network

    def end(self) -> None:
        """Kill the command, so that box ends."""
        self.sandbox.signal(self.running.command, signal.SIGKILL)
        self.running.program.wait()


@dataclass
class Lan:
    """The host, with one box attached, and its neighbour on the LAN."""

    sandbox: Sandbox
    host: Network
    neighbour: Neighbour
    first: Box

    def links(self) -> dict[str, Any]:
        """The host's links by name, as `ip` tells of them."""
        return {each["ifname"]: each for each in ip(self.host, "-d", "link")}

    def bridge_ports(self) -> dict[str, str]:
        """The bridge that each of the host's links is attached to, or ""."""
        return {name: each.get("master", "") for name, each in self.links().items()}


@scene
def alone(sandbox: Sandbox) -> Box:
    """A box without --network."""
    return start(sandbox)


@scene
def lan_with_box(sandbox: Sandbox) -> Lan:
    """A box on a bridge that was not there before."""
    neighbour = sandbox.neighbour()
    return Lan(sandbox, sandbox.network(), neighbour, attach_box(sandbox, FIRST))


def attach_box(sandbox: Sandbox, address: str) -> Box:
    """One more box on the bridge."""
    return start(sandbox, "--network", BRIDGE, "--ip", f"{address}/24", "--gateway", GATEWAY)


def start(sandbox: Sandbox, *options: str) -> Box:
    running = sandbox.start_box(*options, sandbox.rootfs)
    return Box(sandbox, running, running.command.network())


def ip(net: Network, *words: str) -> list[dict[str, Any]]:
    """What `ip -j` says of this network."""
    said = net.nsenter("ip", "-j", *words)
    found: list[dict[str, Any]] = json.loads(said or "[]")
    return found


def own_namespace(exam: Exam) -> str:
    box = exam.of(alone).running.command.namespace("net")
    host = exam.of(alone).sandbox.init.namespace("net")
    if box == host:
        raise Failure(f"the command's network is the host's: {box}")
    return f"{box}; the host's is {host}"


def loopback(exam: Exam) -> str:
    net = exam.of(alone).net
    links = {each["ifname"]: each["flags"] for each in ip(net, "link")}
    if "UP" not in links.get("lo", []):
        raise Failure(f"lo is down: {describe(links)}")
    if set(links) != {"lo"}:
        raise Failure(f"a box without --network has more than lo: {describe(links)}")
    with net.listen(80, "127.0.0.1") as server:
        net.connect("127.0.0.1", 80, server)
    return "lo is up and alone, and 127.0.0.1 answers"


def bridge(exam: Exam) -> str:
    made = exam.of(lan_with_box).links().get(BRIDGE)
    if made is None:
        raise Failure(f"the host has no {BRIDGE}, only {', '.join(exam.of(lan_with_box).links())}")
    kind = made.get("linkinfo", {}).get("info_kind", "hardware")
    if kind != "bridge":
        raise Failure(f"{BRIDGE} is not a bridge, but {kind}")
    if "UP" not in made["flags"]:
        raise Failure(f"{BRIDGE} is down")
    has = addresses(exam.of(lan_with_box).host, BRIDGE)
    if f"{GATEWAY}/24" not in has:
        raise Failure(f"{BRIDGE} has the addresses {has or 'none'}")
    return f"{BRIDGE} is up, with {GATEWAY}/24"


def veth(exam: Exam) -> str:
    inside = {each["ifname"]: each for each in ip(exam.of(lan_with_box).first.net, "-d", "link")}
    eth0 = inside.get("eth0")
    if eth0 is None:
        raise Failure(f"the box has no eth0: {', '.join(inside)}")
    kind = eth0.get("linkinfo", {}).get("info_kind", "hardware")
    if kind != "veth" or "UP" not in eth0["flags"]:
        raise Failure(f"eth0 is {kind}, {'up' if 'UP' in eth0['flags'] else 'down'}")
    has = addresses(exam.of(lan_with_box).first.net, "eth0")
    if has != [f"{FIRST}/24"]:
        raise Failure(f"eth0 has the addresses {has or 'none'}")
    ends = [
        e for e in exam.of(lan_with_box).links().values() if e["ifindex"] == eth0.get("link_index")
    ]
    if not ends:
        raise Failure("eth0's peer is not on the host")
    if ends[0].get("master") != BRIDGE:
        raise Failure(f"the host's end, {ends[0]['ifname']}, is not attached to {BRIDGE}")
    return f"eth0 {FIRST}/24, its peer {ends[0]['ifname']} in {BRIDGE}"


def host_to_box(exam: Exam) -> str:
    with exam.of(lan_with_box).first.net.listen(80) as server:
        seen = exam.of(lan_with_box).host.connect(FIRST, 80, server)
    if seen != GATEWAY:
        raise Failure(f"the host connected to {FIRST}:80, from {seen}")
    return f"the host connected to {FIRST}:80, from {seen}"


def default_route(exam: Exam) -> str:
    routes = [r for r in ip(exam.of(lan_with_box).first.net, "route") if r["dst"] == "default"]
    if not routes:
        raise Failure("the box has no default route")
    if routes[0].get("gateway") != GATEWAY:
        raise Failure(f"its default route leads to {routes[0].get('gateway')}")
    lan = exam.of(lan_with_box).neighbour
    exam.of(lan_with_box).host.write_sysctl("net/ipv4/ip_forward", "1")
    with lan.listen(80) as server:
        seen = exam.of(lan_with_box).first.net.connect(lan.address, 80, server)
    return f"default via {GATEWAY}: the LAN's {lan.address} saw {seen}"


def box_to_box(exam: Exam) -> str:
    second = attach_box(exam.of(lan_with_box).sandbox, SECOND)
    with second.net.listen(80) as server:
        seen = exam.of(lan_with_box).first.net.connect(SECOND, 80, server)
    with exam.of(lan_with_box).first.net.listen(80) as server:
        second.net.connect(FIRST, 80, server)
    if seen != FIRST:
        raise Failure(f"{FIRST} connected to {SECOND}:80, from {seen}")
    return f"{FIRST} connected to {SECOND}:80, and back"


def address_again(exam: Exam) -> str:
    for which in ("one", "the next"):
        box = attach_box(exam.of(lan_with_box).sandbox, THIRD)
        try:
            with box.net.listen(80) as server:
                exam.of(lan_with_box).host.connect(THIRD, 80, server)
        except Failure as lost:
            raise Failure(
                f"of two boxes that had {THIRD}, {which} was not reached: {lost}"
            ) from None
        box.end()
        del box  # and with it our reference to the namespace
    return f"two boxes had {THIRD}, one after the other, and both answered at once"


def veth_gone(exam: Exam) -> str:
    home = exam.of(lan_with_box)
    before = home.bridge_ports()
    if BRIDGE not in before:
        raise Failure(f"{BRIDGE} has gone with a box that ended before; {FIRST} is still running")
    ending = attach_box(home.sandbox, FOURTH)
    veths = home.bridge_ports().keys() - before.keys()
    if not veths:
        raise Failure("no veth device was attached on the host while the box ran")
    ending.end()  # while we still hold its namespace, as nsenter(1) would
    now = home.bridge_ports()
    if left := now.keys() & veths:
        raise Failure(f"the command was killed, box has ended, and left {', '.join(sorted(left))}")
    if now != before:
        kept = ", ".join(f"{name} in {bridge}" for name, bridge in now.items() if bridge)
        raise Failure(f"box removed more than its veth device; still attached: {kept or 'none'}")
    return f"{', '.join(veths)} was removed with its box, and {FIRST} kept its own"


def addresses(net: Network, device: str) -> list[str]:
    """The IPv4 addresses of a device, with their lengths."""
    found = ip(net, "-4", "address", "show", "dev", device)
    return [f"{a['local']}/{a['prefixlen']}" for each in found for a in each.get("addr_info", [])]


def describe(links: dict[str, list[str]]) -> str:
    return ", ".join(f"{name} {'up' if 'UP' in flags else 'down'}" for name, flags in links.items())
