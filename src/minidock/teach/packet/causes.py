"""Why a packet was lost: checks of this machine that prove a cause.

Each place where a packet can be lost has its checks, in the order of the packet's path. A check
reads `Facts` and returns a verdict or None. If no check proves a cause, the verdict is "not
determined" and lists the checks: a wrong cause costs more time than none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from minidock.kernel.flock_holders import are_stopped
from minidock.teach.packet.facts import Network, Route
from minidock.teach.packet.probe import ProbeResult

FORWARDING = "net/ipv4/ip_forward"


class Verdict(NamedTuple):
    """The outcome. status: "answered", "relayed" or "stopped". advice: how to fix it, or ""."""

    status: str
    text: str
    advice: str = ""


class Check(NamedTuple):
    """One check. words: what it checks. look: returns a verdict, or None if all is well."""

    words: str
    look: Callable[[ProbeResult], Verdict | None]


def first(result: ProbeResult, text: str, checks: Sequence[Check]) -> Verdict:
    """The verdict of the first check that proves a cause. text: what was observed."""
    for check in checks:
        if verdict := check.look(result):
            return verdict
    looked = ", ".join(check.words for check in checks)
    return Verdict("stopped", f"{text}; cause not determined; checked: {looked}", _silent(result))


def _silent(result: ProbeResult) -> str:
    """Queueing disciplines and bridge rules that may drop packets without a trace."""
    here, there = result.facts.host.shapers, result.facts.inside.shapers
    found = [f"tc qdisc {kind} on {device}" for device, kind in {**here, **there}.items()]
    if result.facts.bridge_rules:
        found.append(f"{result.facts.bridge_rules} rules for bridged frames (nft list ruleset)")
    return f"these may drop packets and leave no trace: {'; '.join(found)}" if found else ""


def _stopped(text: str, advice: str = "") -> Verdict:
    return Verdict("stopped", text, advice)


def _enter(result: ProbeResult) -> str:
    return f"nsenter --net=/proc/{result.target.pid}/ns/net"


# The host's routing -------------------------------------------------------------------------------


def _bridge(result: ProbeResult) -> Verdict | None:
    bridge = result.target.bridge
    up = result.facts.host.is_up(bridge)
    if up is None:
        again = (
            f"starting any container on this network restores it: minidock restart {_name(result)}"
        )
        return _stopped(f"{bridge} does not exist any more", again)
    if not up:
        text = f"{bridge} is down, so its route is gone"
        return _stopped(text, f"ip link set dev {bridge} up")
    return None


def _hairpin(result: ProbeResult) -> Verdict | None:
    veth = result.target.lease["Cable"]
    if result.origin != _name(result) or not result.facts.bridged:
        return None
    if result.facts.ports.get(veth, {}).get("hairpin") is not False:
        return None
    return _stopped(
        f"{_name(result)} connects to itself, and hairpin is off at {veth}: a bridge does not send "
        "a frame out of the port on which it arrived",
        f"bridge link set dev {veth} hairpin on; or minidock restart {_name(result)}",
    )


def _localnet(result: ProbeResult) -> Verdict | None:
    setting = f"net/ipv4/conf/{result.target.bridge}/route_localnet"
    if not result.source.startswith("127.") or result.settings.get(setting) != "0":
        return None
    why = "it needs route_localnet for packets of 127.0.0.0/8"
    return _stopped(
        f"the kernel does not route it to {result.target.bridge}: {why}",
        f"{_set(setting)}; or {_again(result)}",
    )


def _forwarding(result: ProbeResult) -> Verdict | None:
    if result.origin == "host" or result.settings.get(FORWARDING) != "0":
        return None
    return _stopped(
        f"the kernel does not route it to {result.target.bridge}: IP forwarding is off",
        f"{_set(FORWARDING)}; or {_again(result)}",
    )


def _route_there(result: ProbeResult) -> Verdict | None:
    route, target = result.facts.there, result.target
    see = f"see: ip rule; ip route show table all | grep -w {target.address.rpartition('.')[0]}"
    if route.refused and route.text:
        return _stopped(f"a route of this host drops it: {route.text} ({route.refused})", see)
    if route.refused and _is_astray(result.facts.host, result.came_by, result.facts.sender):
        text = f"reverse path filtering drops it: no route to {result.source} on {result.came_by}"
        return _stopped(text, f"sysctl net.ipv4.conf.{result.came_by}.rp_filter; ip route")
    if route.refused:
        return _stopped(f"this host has no route to {target.address}: {route.refused}", see)
    if route.device not in (target.bridge, "?"):
        applied = _policy(result.facts.host.policies)
        text = f"this host routes {target.address} to {route.device}, not to {target.bridge}"
        return _stopped(f"{text}{applied}", see)
    return None


def _is_astray(network: Network, device: str, route: Route) -> bool:
    """Whether strict reverse path filtering drops it: the route back uses another device."""
    return device in network.strict and route.device not in (device, "?")


def _policy(rules: list[str]) -> str:
    return f"; policy routing rules: {'; '.join(rules)}" if rules else ""


ROUTING = (
    Check("the bridge", _bridge),
    Check("hairpin", _hairpin),
    Check("its route_localnet", _localnet),
    Check("ip_forward", _forwarding),
    Check("the route (ip route get)", _route_there),
)


# Bridge, veth, eth0 ------------------------------------------------------------------------------


def _veth(result: ProbeResult) -> Verdict | None:
    veth, bridge = result.target.lease["Cable"], result.target.bridge
    fault = result.facts.host.veth_fault(veth, bridge, _name(result), up=(veth,))
    return _stopped(*fault) if fault else None


def _interface(result: ProbeResult) -> Verdict | None:
    interface = result.target.lease["Interface"]
    up = result.facts.inside.is_up(interface)
    if up is None:
        text = f"{_name(result)} has no interface {interface} any more"
        return _stopped(text, f"{_enter(result)} ip link; minidock restart {_name(result)}")
    if not up:
        text = f"{interface} is down inside {_name(result)}"
        return _stopped(text, f"{_enter(result)} ip link set dev {interface} up")
    return None


def _port_state(result: ProbeResult) -> Verdict | None:
    veth = result.target.lease["Cable"]
    state = result.facts.ports.get(veth, {}).get("state", "forwarding")
    if state == "forwarding":
        return None
    text = f"the bridge's port {veth} is {state}: it forwards no frames"
    return _stopped(text, f"bridge link set dev {veth} state 3")


def _address(result: ProbeResult) -> Verdict | None:
    target, there = result.target, result.facts.inside.addresses
    if target.address in there:
        return None
    others = ", ".join(a for a in there if not a.startswith("127.")) or "only 127.0.0.1"
    prefix = target.network["Subnet"].partition("/")[2]
    text = f"{_name(result)} does not have {target.address} any more; its addresses: {others}"
    command = f"ip address add {target.address}/{prefix} dev {target.lease['Interface']}"
    return _stopped(text, f"{_enter(result)} {command}; or minidock restart {_name(result)}")


def _neighbour(result: ProbeResult) -> Verdict | None:
    target = result.target
    entry = result.facts.host.neighbours.get(target.address)
    real = result.facts.inside.devices.get(target.lease["Interface"], {}).get("address", "")
    held = (entry or {}).get("lladdr", "")
    if entry is None or not held or not real or held == real:
        return None
    kind = " (permanent)" if "PERMANENT" in entry.get("state", ()) else ""
    text = f"this host's ARP entry{kind} maps {target.address} to {held}, but the address is {real}"
    return _stopped(
        f"{text}, {_name(result)}'s {target.lease['Interface']}",
        f"ip neighbour del {target.address} dev {target.bridge}",
    )


def _learned(result: ProbeResult) -> Verdict | None:
    target = result.target
    real = result.facts.inside.devices.get(target.lease["Interface"], {}).get("address", "")
    port = result.facts.fdb.get(real, "")
    if not port or port == target.lease["Cable"]:
        return None
    text = f"{target.bridge} forwards {real} to its port {port}, not to {target.lease['Cable']}"
    return _stopped(text, f"bridge fdb del {real} dev {port} master")


LINKS = (
    Check("the bridge", _bridge),
    Check("the veth", _veth),
    Check("eth0 inside", _interface),
    Check("the bridge's port", _port_state),
    Check("the addresses inside", _address),
    Check("this host's ARP entry", _neighbour),
    Check("hairpin", _hairpin),
    Check("the bridge's addresses (bridge fdb)", _learned),
)


# The container's kernel ---------------------------------------------------------------------------


def _inner_firewall(result: ProbeResult) -> Verdict | None:
    rule = next((trace.dropped_by for trace in result.inner if trace.dropped_by), None)
    if rule is None:
        return None
    text = f"a firewall inside {_name(result)} drops it: {rule.table} {rule.chain}: {rule.text}"
    return _stopped(text, f"{_enter(result)} nft list ruleset")


def _arrival(result: ProbeResult) -> Verdict | None:
    route, interface = result.facts.arrival, result.target.lease["Interface"]
    if route.refused and _is_astray(result.facts.inside, interface, result.facts.back):
        text = f"reverse path filtering inside {_name(result)} drops it: it has no route to "
        return _stopped(f"{text}{result.arrived_as} on {interface}", f"{_enter(result)} ip route")
    return None


def _answers_route(result: ProbeResult) -> Verdict | None:
    route, interface = result.facts.back, result.target.lease["Interface"]
    if route.refused:
        named = f" ({route.text})" if route.text else ""
        text = (
            f"{_name(result)} has no route for its answer to {result.arrived_as}: {route.refused}"
        )
        return _stopped(f"{text}{named}", f"{_enter(result)} ip route; {_default(result)}")
    if route.device not in (interface, "?"):
        text = f"{_name(result)} sends its answer out on {route.device}, not on {interface}"
        return _stopped(
            f"{text}{_policy(result.facts.inside.policies)}", f"{_enter(result)} ip route"
        )
    return None


def _answers_gateway(result: ProbeResult) -> Verdict | None:
    """The container's ARP entry for its next hop, compared with the bridge."""
    hop = result.facts.back.gateway or result.arrived_as
    entry = result.facts.inside.neighbours.get(hop)
    held = (entry or {}).get("lladdr", "")
    bridge = result.facts.host.devices.get(result.target.bridge, {}).get("address", "")
    if not held or not bridge or held == bridge or hop != result.target.network["Gateway"]:
        return None
    text = f"{_name(result)}'s ARP entry maps its gateway {hop} to {held}; {bridge} is right"
    interface = result.target.lease["Interface"]
    return _stopped(text, f"{_enter(result)} ip neighbour del {hop} dev {interface}")


def _queue(result: ProbeResult) -> Verdict | None:
    if not result.facts.risen_counters.get("listen"):
        return None
    text = f"the accept queue of {_name(result)}'s program is full"
    return _stopped(text, f"{_enter(result)} ss -lnt; why does the program not accept?")


def _default(result: ProbeResult) -> str:
    gateway, interface = result.target.network["Gateway"], result.target.lease["Interface"]
    return f"{_enter(result)} ip route add default via {gateway} dev {interface}"


INSIDE = (
    Check("the addresses inside", _address),
    Check("this host's ARP entry", _neighbour),
    Check("the trace of the firewall inside", _inner_firewall),
    Check("reverse path filtering inside", _arrival),
    Check("the route of the answer", _answers_route),
    Check("the ARP entry of its gateway", _answers_gateway),
    Check("the accept queue of the listening socket", _queue),
)


# The answer ---------------------------------------------------------------------------------------


def _answer_on_host(result: ProbeResult) -> Verdict | None:
    route = result.facts.back_host
    if route.refused and _is_astray(result.facts.host, result.target.bridge, result.facts.there):
        text = f"reverse path filtering drops the answer: no route to {result.target.address} on "
        return _stopped(f"{text}{result.target.bridge}", "see: ip rule; ip route")
    if route.refused:
        text = f"this host has no route for the answer to {result.source}: {route.refused}"
        return _stopped(text, "see: ip rule; ip route")
    return None


BACK = (
    Check("the veth", _veth),
    Check("the bridge's port", _port_state),
    Check("the ARP entry of its gateway", _answers_gateway),
    Check("the route of the answer", _answer_on_host),
)


# Connection tracking, and the holder of the port
# ------------------------------------------------------


def _tracking(result: ProbeResult) -> Verdict | None:
    count, maximum = result.facts.tracked
    if not result.facts.risen_counters.get("conntrack"):
        return None
    text = f"connection tracking could not add it: {count} of {maximum} entries are in use"
    return _stopped(text, "sysctl -w net.netfilter.nf_conntrack_max=…; conntrack -L | wc -l")


def _monitor(result: ProbeResult) -> Verdict | None:
    pid = result.connection_owner[0]
    if pid != result.target.container.monitor_pid or not are_stopped({pid}):
        return None
    text = f"the monitor of {_name(result)} (pid {pid}) holds the port and is stopped (SIGSTOP)"
    return _stopped(text, f"kill -CONT {pid}")


HOLDER = (Check("connection tracking", _tracking), Check("the port's holder", _monitor))


def _name(result: ProbeResult) -> str:
    return result.target.container.name


def _set(setting: str) -> str:
    return f"sysctl -w {setting.replace('/', '.')}=1"


def _again(result: ProbeResult) -> str:
    return f"starting any container on this network restores it: minidock restart {_name(result)}"
