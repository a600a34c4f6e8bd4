"""Notes on packets that may fare worse than the probe: larger packets, packets from the uplink, and
UDP packets of a flow that is already tracked.

The probe has no payload and, with `--from outside`, arrives on a device of its own. These notes
come from the rules and devices that it did not pass.

Sources: iptables-save(8), ip-sysctl.rst "rp_filter", veth(4).
"""

from __future__ import annotations

from minidock.engine.network import firewall
from minidock.teach.packet.probe import ProbeResult

_DROPS = ("-j DROP", "-j REJECT")
_INCOMING = {"raw": ("PREROUTING",), "mangle": ("PREROUTING", "FORWARD"), "filter": ("FORWARD",)}


def notes(result: ProbeResult) -> list[str]:
    """List the notes, a sentence each."""
    found = _mtu(result) + _tracked_elsewhere(result)
    if result.origin == "outside":
        found += _uplink(result)
    return found


def _mtu(result: ProbeResult) -> list[str]:
    """A device drops frames larger than its MTU, silently."""
    target, facts = result.target, result.facts
    devices = (
        (target.lease["Interface"], facts.inside),
        (target.lease["Cable"], facts.host),
        (target.bridge, facts.host),
    )
    sizes = [(name, where.devices[name]["mtu"]) for name, where in devices if name in where.devices]
    if len({size for _, size in sizes}) < 2:
        return []
    mtus = ", ".join(f"{name} {size}" for name, size in sizes)
    least = min(size for _, size in sizes)
    return [
        f"MTUs differ ({mtus}): packets larger than {least} bytes may be lost; the probe is smaller"
    ]


def _tracked_elsewhere(result: ProbeResult) -> list[str]:
    """Connection tracking sends a UDP flow where its first packet went, whatever the rules say."""
    here = [*result.facts.host.addresses, result.target.address]
    found: dict[str, list[str]] = {}
    for flow in result.facts.flows:
        if flow.destination in here and flow.answered_by not in here:
            found.setdefault(flow.answered_by, []).append(f"{flow.source}:{flow.source_port}")
    forget = f"conntrack -D -p udp --orig-port-dst {result.target.port}"
    return [
        f"connection tracking sends UDP from {', '.join(senders[:4])} to {address} as long as "
        f"the flow is active; delete the entries: `{forget}`"
        for address, senders in found.items()
    ]


def _uplink(result: ProbeResult) -> list[str]:
    """Rules and settings of the uplinks, on which the probe did not arrive."""
    found = []
    for device in _uplinks(result):
        for table, chains in _INCOMING.items():
            have = firewall.parse(result.saved).get(table, {})
            rules = [
                f"{table}: -A {chain} {rule}"
                for chain in {*chains, *_jump_targets(have, chains)}
                for rule in have.get(chain, [])
                if f"-i {device} " in rule and any(drop in rule for drop in _DROPS)
            ]
            found += [
                f"packets on {device} pass a rule that this probe did not: {rule}" for rule in rules
            ]
        if device in result.facts.host.strict:
            found.append(
                f"{device} has rp_filter=1: it drops packets from machines that this host reaches "
                "through another device, or not at all"
            )
    return found


def _jump_targets(chains: dict[str, list[str]], built_in: tuple[str, ...]) -> list[str]:
    """The chains of a table that these jump to, directly or not."""
    found: list[str] = []
    waiting = list(built_in)
    while waiting:
        for rule in chains.get(waiting.pop(), []):
            target = rule.rpartition("-j ")[2].split(" ")[0]
            if target in chains and target not in found:
                found.append(target)
                waiting.append(target)
    return found


def _uplinks(result: ProbeResult) -> list[str]:
    """The devices of this host, except loopback, bridges, bridge ports and the probe's device."""
    return [
        name
        for name, device in result.facts.host.devices.items()
        if "LOOPBACK" not in device["flags"]
        and "master" not in device
        and device.get("linkinfo", {}).get("info_kind") != "bridge"
        and name != result.came_by
    ]
