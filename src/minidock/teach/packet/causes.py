"""Why a packet ended where it did: a cause is said only where a check of this machine proves it.

Each place where a packet may get lost has its checks, in the order of the packet's way. A check
reads `Facts`, and returns a verdict, or None. Where none of them finds anything the answer is "not
determined", with all that was looked at: a wrong cause costs more time than none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from minidock.teach.packet.facts import Network, Route
from minidock.teach.packet.probe import Seen

FORWARDING = "net/ipv4/ip_forward"


class Verdict(NamedTuple):
    """How it ends. status: "answered", "relayed" or "stopped". advice: what to do, or ""."""

    status: str
    text: str
    advice: str = ""


class Check(NamedTuple):
    """One thing to look at. words: what it is. look: the verdict, None where it is all right."""

    words: str
    look: Callable[[Seen], Verdict | None]


def first(seen: Seen, text: str, checks: Sequence[Check]) -> Verdict:
    """The first cause that a check proves, or that none does. text: what was seen."""
    for check in checks:
        if verdict := check.look(seen):
            return verdict
    looked = ", ".join(check.words for check in checks)
    return Verdict("stopped", f"{text}; why is not determined: looked at {looked}", _silent(seen))


def _silent(seen: Seen) -> str:
    """What there is that may drop packets and does not tell: named, and never as the cause."""
    here, there = seen.facts.host.shapers, seen.facts.inside.shapers
    found = [f"tc qdisc {kind} on {device}" for device, kind in {**here, **there}.items()]
    if seen.facts.bridge_rules:
        found.append(f"{seen.facts.bridge_rules} rules for bridged frames (nft list ruleset)")
    return f"what may drop packets, and does not tell which: {'; '.join(found)}" if found else ""


def _stopped(text: str, advice: str = "") -> Verdict:
    return Verdict("stopped", text, advice)


def _enter(seen: Seen) -> str:
    return f"nsenter --net=/proc/{seen.target.pid}/ns/net"


# The host's routing -------------------------------------------------------------------------------


def _bridge(seen: Seen) -> Verdict | None:
    bridge = seen.target.bridge
    up = seen.facts.host.is_up(bridge)
    if up is None:
        again = f"any start on this network makes it again: minidock restart {_name(seen)}"
        return _stopped(f"{bridge} is not there any more", again)
    if not up:
        text = f"{bridge} is down, and its route is gone with it"
        return _stopped(text, f"ip link set dev {bridge} up")
    return None


def _hairpin(seen: Seen) -> Verdict | None:
    cable = seen.target.lease["Cable"]
    if seen.origin != _name(seen) or not seen.facts.bridged:
        return None
    if seen.facts.ports.get(cable, {}).get("hairpin") is not False:
        return None
    return _stopped(
        f"{_name(seen)} calls itself, and hairpin is off at {cable}: no frame leaves a bridge by "
        "the port that it came in at",
        f"bridge link set dev {cable} hairpin on; or minidock restart {_name(seen)}",
    )


def _localnet(seen: Seen) -> Verdict | None:
    setting = f"net/ipv4/conf/{seen.target.bridge}/route_localnet"
    if not seen.source.startswith("127.") or seen.settings.get(setting) != "0":
        return None
    why = "packets of 127.0.0.0/8 leave by no device whose route_localnet is off"
    return _stopped(
        f"the kernel does not route it to {seen.target.bridge}: {why}",
        f"{_set(setting)}; or {_again(seen)}",
    )


def _forwarding(seen: Seen) -> Verdict | None:
    if seen.origin == "host" or seen.settings.get(FORWARDING) != "0":
        return None
    return _stopped(
        f"the kernel does not route it to {seen.target.bridge}: this machine forwards nothing",
        f"{_set(FORWARDING)}; or {_again(seen)}",
    )


def _route_there(seen: Seen) -> Verdict | None:
    route, target = seen.facts.there, seen.target
    see = f"see: ip rule; ip route show table all | grep -w {target.address.rpartition('.')[0]}"
    if route.refused and route.text:
        return _stopped(f"a route of this host drops it: {route.text} ({route.refused})", see)
    if route.refused and _is_astray(seen.facts.host, seen.came_by, seen.facts.sender):
        text = f"reverse path filtering drops it: {seen.source} is not behind {seen.came_by}"
        return _stopped(text, f"sysctl net.ipv4.conf.{seen.came_by}.rp_filter; ip route")
    if route.refused:
        return _stopped(f"this host has no route to {target.address}: {route.refused}", see)
    if route.device not in (target.bridge, "?"):
        because = _policy(seen.facts.host.policies)
        text = f"this host routes {target.address} by {route.device}, not by {target.bridge}"
        return _stopped(f"{text}{because}", see)
    return None


def _is_astray(network: Network, device: str, route: Route) -> bool:
    """Whether a device drops what comes from where its own routes do not lead (rp_filter=1)."""
    return device in network.strict and route.device not in (device, "?")


def _policy(rules: list[str]) -> str:
    return f"; rules of policy routing: {'; '.join(rules)}" if rules else ""


ROUTING = (
    Check("the bridge", _bridge),
    Check("hairpin", _hairpin),
    Check("its route_localnet", _localnet),
    Check("ip_forward", _forwarding),
    Check("the route (ip route get)", _route_there),
)


# Bridge, cable, eth0 ------------------------------------------------------------------------------


def _cable(seen: Seen) -> Verdict | None:
    cable, bridge = seen.target.lease["Cable"], seen.target.bridge
    wrong = seen.facts.host.wrong_cable(cable, bridge, _name(seen), up=(cable,))
    return _stopped(*wrong) if wrong else None


def _interface(seen: Seen) -> Verdict | None:
    interface = seen.target.lease["Interface"]
    up = seen.facts.inside.is_up(interface)
    if up is None:
        text = f"{_name(seen)} has no device {interface} any more"
        return _stopped(text, f"{_enter(seen)} ip link; minidock restart {_name(seen)}")
    if not up:
        text = f"{interface} is down inside {_name(seen)}"
        return _stopped(text, f"{_enter(seen)} ip link set dev {interface} up")
    return None


def _port_state(seen: Seen) -> Verdict | None:
    cable = seen.target.lease["Cable"]
    state = seen.facts.ports.get(cable, {}).get("state", "forwarding")
    if state == "forwarding":
        return None
    text = f"the bridge's port {cable} is {state}: it lets no frame through"
    return _stopped(text, f"bridge link set dev {cable} state 3")


def _address(seen: Seen) -> Verdict | None:
    target, there = seen.target, seen.facts.inside.addresses
    if target.address in there:
        return None
    others = ", ".join(a for a in there if not a.startswith("127.")) or "none but 127.0.0.1"
    prefix = target.network["Subnet"].partition("/")[2]
    text = f"{_name(seen)} does not have {target.address} any more; its addresses: {others}"
    command = f"ip address add {target.address}/{prefix} dev {target.lease['Interface']}"
    return _stopped(text, f"{_enter(seen)} {command}; or minidock restart {_name(seen)}")


def _neighbour(seen: Seen) -> Verdict | None:
    target = seen.target
    entry = seen.facts.host.neighbours.get(target.address)
    real = seen.facts.inside.devices.get(target.lease["Interface"], {}).get("address", "")
    held = (entry or {}).get("lladdr", "")
    if entry is None or not held or not real or held == real:
        return None
    kind = " (permanent)" if "PERMANENT" in entry.get("state", ()) else ""
    text = f"this host's ARP entry{kind} sends {target.address} to {held}, and that is not {real}"
    return _stopped(
        f"{text}, {_name(seen)}'s {target.lease['Interface']}",
        f"ip neighbour del {target.address} dev {target.bridge}",
    )


def _learned(seen: Seen) -> Verdict | None:
    target = seen.target
    real = seen.facts.inside.devices.get(target.lease["Interface"], {}).get("address", "")
    port = seen.facts.fdb.get(real, "")
    if not port or port == target.lease["Cable"]:
        return None
    text = f"{target.bridge} sends {real} to its port {port}, not to {target.lease['Cable']}"
    return _stopped(text, f"bridge fdb del {real} dev {port} master")


LINKS = (
    Check("the bridge", _bridge),
    Check("the cable", _cable),
    Check("eth0 inside", _interface),
    Check("the bridge's port", _port_state),
    Check("the addresses inside", _address),
    Check("this host's ARP entry", _neighbour),
    Check("hairpin", _hairpin),
    Check("the bridge's addresses (bridge fdb)", _learned),
)


# The container's kernel ---------------------------------------------------------------------------


def _inner_firewall(seen: Seen) -> Verdict | None:
    rule = next((way.dropped_by for way in seen.inner if way.dropped_by), None)
    if rule is None:
        return None
    text = f"a firewall inside {_name(seen)} drops it: {rule.table} {rule.chain}: {rule.text}"
    return _stopped(text, f"{_enter(seen)} nft list ruleset")


def _arrival(seen: Seen) -> Verdict | None:
    route, interface = seen.facts.arrival, seen.target.lease["Interface"]
    if route.refused and _is_astray(seen.facts.inside, interface, seen.facts.back):
        text = f"reverse path filtering inside {_name(seen)} drops it: its routes do not lead to "
        return _stopped(f"{text}{seen.arrived_as} by {interface}", f"{_enter(seen)} ip route")
    return None


def _answers_route(seen: Seen) -> Verdict | None:
    route, interface = seen.facts.back, seen.target.lease["Interface"]
    if route.refused:
        named = f" ({route.text})" if route.text else ""
        text = f"{_name(seen)} has no route for its answer to {seen.arrived_as}: {route.refused}"
        return _stopped(f"{text}{named}", f"{_enter(seen)} ip route; {_default(seen)}")
    if route.device not in (interface, "?"):
        text = f"{_name(seen)} sends its answer by {route.device}, not by {interface}"
        return _stopped(f"{text}{_policy(seen.facts.inside.policies)}", f"{_enter(seen)} ip route")
    return None


def _answers_gateway(seen: Seen) -> Verdict | None:
    """The next hop's hardware address, as the container has it: a bridge's or a neighbour's."""
    hop = seen.facts.back.gateway or seen.arrived_as
    entry = seen.facts.inside.neighbours.get(hop)
    held = (entry or {}).get("lladdr", "")
    bridge = seen.facts.host.devices.get(seen.target.bridge, {}).get("address", "")
    if not held or not bridge or held == bridge or hop != seen.target.network["Gateway"]:
        return None
    text = f"{_name(seen)}'s ARP entry sends {hop}, its gateway, to {held}; {bridge} would be right"
    interface = seen.target.lease["Interface"]
    return _stopped(text, f"{_enter(seen)} ip neighbour del {hop} dev {interface}")


def _queue(seen: Seen) -> Verdict | None:
    if not seen.facts.rose.get("listen"):
        return None
    text = f"the queue of connections that {_name(seen)}'s program has not accepted yet is full"
    return _stopped(text, f"{_enter(seen)} ss -lnt; what does the program wait for?")


def _default(seen: Seen) -> str:
    gateway, interface = seen.target.network["Gateway"], seen.target.lease["Interface"]
    return f"{_enter(seen)} ip route add default via {gateway} dev {interface}"


INSIDE = (
    Check("the addresses inside", _address),
    Check("this host's ARP entry", _neighbour),
    Check("the trace of the firewall inside", _inner_firewall),
    Check("reverse path filtering inside", _arrival),
    Check("the route of the answer", _answers_route),
    Check("the ARP entry of its gateway", _answers_gateway),
    Check("the queue of the listening socket", _queue),
)


# The answer ---------------------------------------------------------------------------------------


def _answer_on_host(seen: Seen) -> Verdict | None:
    route = seen.facts.back_host
    if route.refused and _is_astray(seen.facts.host, seen.target.bridge, seen.facts.there):
        text = f"reverse path filtering drops the answer: {seen.target.address} is not behind "
        return _stopped(f"{text}{seen.target.bridge} for this host", "see: ip rule; ip route")
    if route.refused:
        text = f"this host has no route for the answer to {seen.source}: {route.refused}"
        return _stopped(text, "see: ip rule; ip route")
    return None


BACK = (
    Check("the cable", _cable),
    Check("the bridge's port", _port_state),
    Check("the ARP entry of its gateway", _answers_gateway),
    Check("the route of the answer", _answer_on_host),
)


# Connection tracking, and who holds the port ------------------------------------------------------


def _tracking(seen: Seen) -> Verdict | None:
    count, most = seen.facts.tracked
    if not seen.facts.rose.get("conntrack"):
        return None
    text = f"connection tracking could not take it in: {count} of {most} connections are tracked"
    return _stopped(text, "sysctl -w net.netfilter.nf_conntrack_max=…; conntrack -L | wc -l")


def _monitor(seen: Seen) -> Verdict | None:
    pid = seen.holder[0]
    if pid != seen.target.container.monitor_pid or not is_stopped(pid):
        return None
    text = f"the monitor of {_name(seen)} (pid {pid}) has the port, and is stopped (SIGSTOP)"
    return _stopped(text, f"kill -CONT {pid}")


HOLDER = (Check("connection tracking", _tracking), Check("the port's holder", _monitor))


def is_stopped(pid: int) -> bool:
    """Whether a process is stopped by a signal, or by a debugger: it does nothing then."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] in ("T", "t")
    except OSError:
        return False


def _name(seen: Seen) -> str:
    return seen.target.container.name


def _set(setting: str) -> str:
    return f"sysctl -w {setting.replace('/', '.')}=1"


def _again(seen: Seen) -> str:
    return f"any start on this network makes it again: minidock restart {_name(seen)}"
