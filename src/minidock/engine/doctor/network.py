"""The network: iptables and its kinds, forwarding, the subnet, the bridge's name, ports in use.

Sources: xtables-nft(8), ip-sysctl.rst, docs/network.md; engine/network for what minidock creates.
"""

from __future__ import annotations

import re

from minidock.engine.doctor import firewalls, writable_paths
from minidock.engine.doctor.finding import (
    NEEDS_ROOT,
    OK,
    PROBLEM,
    UNKNOWN,
    WARNING,
    Finding,
    failed,
)
from minidock.engine.doctor.kernel import fix_for, joined
from minidock.engine.doctor.machine import Machine
from minidock.engine.doctor.store_networks import DEFAULT, networks
from minidock.engine.network import ipam
from minidock.errors import Conflict

TOPIC = "Network"

_NO_NETWORK: dict[str, bool | None] = {"network": False}
_NOT_KNOWN: dict[str, bool | None] = {"network": None}
# Ports that README and the course publish.
_POPULAR = (80, 443, 8080, 8090)


def findings(machine: Machine) -> list[Finding]:
    """Check what a container needs to reach other machines."""
    return [
        *_iptables(machine),
        _rules(machine),
        _forwarding(machine),
        *firewalls.findings(machine),
        _bridged_packets(machine),
        _subnet(machine),
        *_user_defined_subnets(machine),
        _bridge(machine),
        _ports(machine),
    ]


def _iptables(machine: Machine) -> list[Finding]:
    kind = firewalls.backend(machine)
    if not kind:
        fix = "apt-get install iptables; without it: minidock run --network host or none"
        return [Finding(TOPIC, "iptables", PROBLEM, "not installed", fix, _NO_NETWORK)]
    answer = machine.run("iptables", "-V")
    seen = answer.text.splitlines()[0] if answer else ""
    other = "legacy" if kind == "nft" else "nft"
    if others := _rules_of_other_kind(machine, kind, other):
        mixed = f"{seen}; packets also traverse {others} rules or policies of iptables-{other}"
        fix = f"use one kind only: update-alternatives --set iptables /usr/sbin/iptables-{other}"
        return [Finding(TOPIC, "iptables", WARNING, mixed, fix, {"out": None})]
    return [Finding(TOPIC, "iptables", OK, seen)]


def _rules_of_other_kind(machine: Machine, kind: str, other: str) -> int:
    """Count the rules of the other kind of tables; every packet passes both kinds.

    Listing legacy tables creates them, so this is done only if the kernel has some already.
    """
    if kind == "nft" and not machine.read("/proc/net/ip_tables_names"):
        return 0
    answer = machine.run(f"iptables-{other}-save")
    if answer is None or answer.code != 0:
        return 0
    policies = re.findall(r"^:FORWARD DROP", answer.text, re.MULTILINE)
    return len(re.findall(r"^-A ", answer.text, re.MULTILINE)) + len(policies)


def _rules(machine: Machine) -> Finding:
    if not firewalls.backend(machine):
        return Finding(TOPIC, "rules", UNKNOWN, "not tested: iptables is not installed")
    answer = machine.try_out("firewall")
    if not answer:
        return Finding(TOPIC, "rules", UNKNOWN, NEEDS_ROOT, can=_NOT_KNOWN)
    if reasons := failed(answer, ("namespace", "bridge", "veth", "rules")):
        fix = fix_for(machine, reasons, "bridge, veth, and iptables' raw, nat and filter tables")
        if "iptables" in joined(reasons) and firewalls.backend(machine) == "nft":
            fix += "; or update-alternatives --set iptables /usr/sbin/iptables-legacy"
        return Finding(TOPIC, "rules", PROBLEM, joined(reasons), fix, _NO_NETWORK)
    return Finding(TOPIC, "rules", OK, "bridge, veth, NAT and a published port: all can be created")


def _forwarding(machine: Machine) -> Finding:
    on = machine.read("/proc/sys/net/ipv4/ip_forward") == "1"
    answer = machine.try_out("forwarding")
    if not answer:
        state = f"net.ipv4.ip_forward is {'on' if on else 'off'}"
        return Finding(TOPIC, "forwarding", UNKNOWN, f"{state}; {NEEDS_ROOT}", can=_NOT_KNOWN)
    if reasons := failed(answer, ("ip_forward",)):
        # Each bridge and each veth has its own settings there, independent of ip_forward.
        said = joined(reasons)
        seen = f"sysctls in net.ipv4 cannot be changed ({said})"
        fix = "sysctl -w net.ipv4.ip_forward=1 on the host; or docker run --privileged …"
        if writable_paths.is_read_only(said):
            fix = writable_paths.remount_fix(machine, "/proc/sys/net/ipv4")
        return Finding(TOPIC, "forwarding", PROBLEM, seen, fix, _NO_NETWORK)
    if on:
        return Finding(TOPIC, "forwarding", OK, "net.ipv4.ip_forward is on")
    seen = "off: the first container turns it on and sets FORWARD's policy to DROP, until the last"
    return Finding(TOPIC, "forwarding", OK, f"net.ipv4.ip_forward is {seen} network is removed")


def _bridged_packets(machine: Machine) -> Finding:
    value = machine.read("/proc/sys/net/bridge/bridge-nf-call-iptables")
    if value == "1":
        seen = "on: packets between containers also traverse iptables, where minidock accepts them"
        return Finding(TOPIC, "br_netfilter", OK, seen)
    return Finding(TOPIC, "br_netfilter", OK, "off: packets between containers bypass iptables")


# The subnet --------------------------------------------------------------------------------------


def _subnet(machine: Machine) -> Finding:
    attached, routed = _occupied(machine, machine.tell("bridge")[0])
    asked = machine.tell("subnet")
    if asked:
        return _asked_subnet(asked[0], attached, routed)
    known = _known_subnet(machine)
    if known is not None:
        if other := _overlapping(known, attached + routed):
            seen = (
                f"{known} overlaps {other}, which was added later: packets may take the wrong route"
            )
            fix = "stop this store's containers; the next start chooses another subnet"
            return Finding(TOPIC, "subnet", WARNING, seen, fix)
        return Finding(TOPIC, "subnet", OK, f"{known} overlaps no route")
    try:
        chosen = ipam.choose_subnet(attached + routed)
    except Conflict as conflict:
        return Finding(TOPIC, "subnet", PROBLEM, str(conflict), conflict.hint, _NO_NETWORK)
    skipped = [str(subnet) for subnet in ipam.candidates()].index(str(chosen))
    note = f" ({skipped} earlier candidates overlap routes or addresses)" if skipped else ""
    return Finding(TOPIC, "subnet", OK, f"{chosen} will be used{note}")


def _user_defined_subnets(machine: Machine) -> list[Finding]:
    """Check subnets of user-defined networks for overlaps; no finding if there are none."""
    found = []
    for each in networks(machine):
        if each["Name"] == DEFAULT or not each.get("Subnet"):
            continue
        subnet = ipam.parse_subnet(each["Subnet"])
        attached, routed = _occupied(machine, str(each.get("Device")))
        if other := _overlapping(subnet, attached + routed):
            name = each["Name"]
            seen = f"network {name}, {subnet}, overlaps {other}: packets may take the wrong route"
            fix = f"minidock network rm {name}; minidock network create [--subnet …] {name}"
            found.append(Finding(TOPIC, "user networks", WARNING, seen, fix))
    return found


def _asked_subnet(text: str, attached: list[ipam.Subnet], routed: list[ipam.Subnet]) -> Finding:
    free = "MINIDOCK_SUBNET=10.99.0.0/24, or another subnet that `ip route` does not list"
    try:
        subnet = ipam.parse_subnet(text)
    except ValueError as error:
        seen = f"MINIDOCK_SUBNET: {error}"
        return Finding(TOPIC, "subnet", PROBLEM, seen, free, _NO_NETWORK)
    if other := _overlapping(subnet, attached):
        seen = f"MINIDOCK_SUBNET {subnet} overlaps {other}, a network of this machine"
        return Finding(TOPIC, "subnet", PROBLEM, seen, free, _NO_NETWORK)
    if other := _overlapping(subnet, routed):
        seen = f"MINIDOCK_SUBNET {subnet} overlaps the route to {other}, which it replaces"
        return Finding(TOPIC, "subnet", WARNING, seen, free)
    return Finding(TOPIC, "subnet", OK, f"MINIDOCK_SUBNET {subnet} overlaps no route")


def _occupied(machine: Machine, own: str) -> tuple[list[ipam.Subnet], list[ipam.Subnet]]:
    """Return the subnets of this machine's devices, and its routes, without one bridge's."""
    attached: list[ipam.Subnet] = []
    ours: list[ipam.Subnet] = []
    for line in machine.tell("addresses"):
        device, _, text = line.partition(" ")
        (ours if device == own else attached).append(_around(text))
    routes = [_around(text) for text in machine.tell("routes")]
    return attached, [r for r in routes if not any(map(r.overlaps, ours)) and r.prefix >= 5]


def _around(text: str) -> ipam.Subnet:
    address, _, length = text.partition("/")
    prefix = int(length or 32)
    return ipam.Subnet(ipam.parse_address(address) & ~((1 << 32 - prefix) - 1), prefix)


def _overlapping(subnet: ipam.Subnet, others: list[ipam.Subnet]) -> ipam.Subnet | None:
    return next((other for other in others if subnet.overlaps(other)), None)


def _known_subnet(machine: Machine) -> ipam.Subnet | None:
    """Return the subnet of the store's default network, if it exists."""
    found = [each.get("Subnet") for each in networks(machine) if each["Name"] == DEFAULT]
    return ipam.parse_subnet(found[0]) if found and found[0] else None


def _bridge(machine: Machine) -> Finding:
    (name,) = machine.tell("bridge")
    root, _ = machine.tell("store")
    device = f"/sys/class/net/{name}"
    if machine.names(device) is None:
        return Finding(TOPIC, "bridge", OK, f"{name} will be created")
    alias = machine.read(f"{device}/ifalias")
    if alias == f"minidock {root}"[:255]:
        return Finding(TOPIC, "bridge", OK, f"{name} exists")
    addressed = any(line.startswith(f"{name} ") for line in machine.tell("addresses"))
    if machine.names(f"{device}/bridge") is not None and not alias and not addressed:
        return Finding(
            TOPIC, "bridge", OK, f"{name} is incomplete: the next container completes it"
        )
    fix = f"use another name: MINIDOCK_BRIDGE=md1; or ip link delete {name}"
    seen = f"{name} exists, but does not belong to this store"
    return Finding(TOPIC, "bridge", PROBLEM, seen, fix, _NO_NETWORK)


def _ports(machine: Machine) -> Finding:
    """List TCP ports with a listener: they cannot be published (proc_net_tcp(5))."""
    taken = set()
    for path in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in (machine.read(path) or "").splitlines()[1:]:
            fields = line.split()
            if len(fields) > 3 and fields[3] == "0A":
                taken.add(int(fields[1].rpartition(":")[2], 16))
    popular = [port for port in _POPULAR if port in taken]
    seen = f"in use: {' '.join(map(str, sorted(taken)))}" if taken else "no port is in use"
    if popular:
        find = f"ss -ltnp 'sport = :{popular[0]}'"
        fix = f"publish another port: -p 18080:80; or find the listener: {find}"
        return Finding(TOPIC, "ports", WARNING, seen, fix)
    return Finding(TOPIC, "ports", OK, seen)
