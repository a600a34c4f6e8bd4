"""What one small probe did not meet, and another packet may: larger ones, those from the uplink,
those of UDP whose way was decided long ago.

A probe that is answered proves that a probe is answered. It came by a device of its own, without a
payload; what the machine says of other packets is told beside it, from its rules and devices.

Sources: iptables-save(8), ip-sysctl.rst "rp_filter", veth(4).
"""

from __future__ import annotations

from minidock.engine.network import firewall
from minidock.teach.packet.probe import Seen

_DROPS = ("-j DROP", "-j REJECT")
_INCOMING = {"raw": ("PREROUTING",), "mangle": ("PREROUTING", "FORWARD"), "filter": ("FORWARD",)}


def notes(seen: Seen) -> list[str]:
    """Sentences, none where other packets meet nothing else."""
    found = _mtu(seen) + _tracked_elsewhere(seen)
    if seen.origin == "outside":
        found += _uplink(seen)
    return found


def _mtu(seen: Seen) -> list[str]:
    """A frame that is larger than the device that takes it in is lost, without a word."""
    target, facts = seen.target, seen.facts
    way = (
        (target.lease["Interface"], facts.inside),
        (target.lease["Cable"], facts.host),
        (target.bridge, facts.host),
    )
    sizes = [(name, where.devices[name]["mtu"]) for name, where in way if name in where.devices]
    if len({size for _, size in sizes}) < 2:
        return []
    told = ", ".join(f"{name} {size}" for name, size in sizes)
    least = min(size for _, size in sizes)
    return [
        f"MTUs differ ({told}): packets of more than {least} bytes may be lost; this one is small"
    ]


def _tracked_elsewhere(seen: Seen) -> list[str]:
    """Who goes on sending UDP from one port is led where the first packet was, rule or no rule."""
    here = [*seen.facts.host.addresses, seen.target.address]
    found: dict[str, list[str]] = {}
    for flow in seen.facts.flows:
        if flow.destination in here and flow.answered_by not in here:
            found.setdefault(flow.answered_by, []).append(f"{flow.source}:{flow.source_port}")
    forget = f"conntrack -D -p udp --orig-port-dst {seen.target.port}"
    return [
        f"connection tracking leads UDP from {', '.join(senders[:4])} to {address}, as long as "
        f"they go on sending; it forgets by `{forget}`"
        for address, senders in found.items()
    ]


def _uplink(seen: Seen) -> list[str]:
    """Rules and settings of the device by which machines really come, which the probe did not."""
    found = []
    for device in _uplinks(seen):
        for table, chains in _INCOMING.items():
            have = firewall.parse(seen.saved).get(table, {})
            rules = [
                f"{table}: -A {chain} {rule}"
                for chain in {*chains, *_led_to(have, chains)}
                for rule in have.get(chain, [])
                if f"-i {device} " in rule and any(drop in rule for drop in _DROPS)
            ]
            found += [
                f"what comes by {device} meets a rule that this probe did not: {rule}"
                for rule in rules
            ]
        if device in seen.facts.host.strict:
            found.append(
                f"{device} has rp_filter=1: machines that this host reaches by another device, or "
                "by none, are not heard there"
            )
    return found


def _led_to(chains: dict[str, list[str]], built_in: tuple[str, ...]) -> list[str]:
    """Chains of a table that a packet may come to from these."""
    found: list[str] = []
    waiting = list(built_in)
    while waiting:
        for rule in chains.get(waiting.pop(), []):
            target = rule.rpartition("-j ")[2].split(" ")[0]
            if target in chains and target not in found:
                found.append(target)
                waiting.append(target)
    return found


def _uplinks(seen: Seen) -> list[str]:
    """The devices of this host but its loopback, its bridges and their ports, and the probe's."""
    return [
        name
        for name, device in seen.facts.host.devices.items()
        if "LOOPBACK" not in device["flags"]
        and "master" not in device
        and device.get("linkinfo", {}).get("info_kind") != "bridge"
        and name != seen.came_by
    ]
