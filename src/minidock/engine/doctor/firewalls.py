"""Who else decides about packets: chains of nftables and of iptables, beside our own rules.

    FORWARD          what containers send to other machines, and what comes back
    INPUT, OUTPUT    what this machine and its containers send each other
    prerouting       all that comes in, before it is routed
    bridge chains    frames, before any of these

Sources: xtables-nft(8), nft(8) "CHAINS"; firewall-cmd(1).
"""

from __future__ import annotations

import json

from minidock.engine.doctor import iptables_rules, nftables
from minidock.engine.doctor.finding import NEEDS_ROOT, OK, UNKNOWN, WARNING, Can, Finding
from minidock.engine.doctor.machine import Machine
from minidock.engine.network import firewall

TOPIC = "Network"

# nftables' tables whose forward chains stop no packet of ours: iptables' own, other engines'.
_HARMLESS_TABLES = ("ip filter", "ip libvirt_network", "inet netavark", "ip docker-bridges")
_OF_HOST = {
    "INPUT": "what containers answer to this machine comes in",
    "OUTPUT": "what this machine sends its containers goes out",
}
_FRAMES = ("prerouting", "input", "forward", "output", "postrouting")


def findings(machine: Machine) -> list[Finding]:
    """What each hook does with a container's packets."""
    return [
        _forward_chain(machine),
        *_host_chains(machine),
        *_early_chains(machine),
        *_bridge_chains(machine),
    ]


def backend(machine: Machine) -> str:
    """The kind of this machine's iptables: "nft", "legacy", or "" where there is none."""
    answer = machine.run("iptables", "-V")
    if answer is None or answer.code != 0:
        return ""
    return "nft" if "nf_tables" in answer.text else "legacy"


def _forward_chain(machine: Machine) -> Finding:
    """Who decides about forwarded packets, beside our own rules, which come first in iptables."""
    check = "FORWARD"
    saved = machine.run("iptables-save", "-t", "filter")
    if saved is None or saved.code != 0:
        seen = saved.text.splitlines()[-1] if saved and saved.text else NEEDS_ROOT
        return Finding(TOPIC, check, UNKNOWN, seen, can={"out": None})
    policy = firewall.forward_policy(saved.text)
    if found := [stop for stop in _stops(machine, "forward") if not _before_them(stop)]:
        seen = f"policy {policy}; but nftables decides too: {_listed(found)}"
        return Finding(TOPIC, check, WARNING, seen, _let_through(machine, found), {"out": None})
    note = "; minidock's own rules come before it" if policy == "DROP" else ""
    return Finding(TOPIC, check, OK, f"policy {policy}{note}")


def _host_chains(machine: Machine) -> list[Finding]:
    """The machine's own calls of a published port, and what containers answer to them."""
    found = []
    for check, well in _OF_HOST.items():
        verdict, seen, fix, can = OK, well, "", Can()
        if stops := [*_stops(machine, check.lower()), *_legacy_stops(machine, check)]:
            verdict, can = WARNING, {"publish": None}
            seen = f"a port published on 127.0.0.1 does not answer: {_listed(stops)} stops it"
            fix = _let_through(machine, stops)
        found.append(Finding(TOPIC, check, verdict, seen, fix, can))
    return found


def _legacy_stops(machine: Machine, chain: str) -> list[nftables.Stop]:
    """Of the tables of iptables-legacy, which nft does not list."""
    bridge = machine.tell("bridge")[0]
    if backend(machine) == "legacy":
        tool, saved = "iptables", machine.run("iptables-save", "-t", "filter")
    elif "filter" in (machine.read("/proc/net/ip_tables_names") or "").split():
        # The tables come into being when they are looked at, so only where there is one already.
        tool, saved = "iptables-legacy", machine.run("iptables-legacy-save")
    else:
        return []
    if saved is None or saved.code != 0:
        return []
    found = iptables_rules.stops(saved.text, bridge, tool=tool)
    return [stop for stop in found if stop.chain.name == chain]


def _early_chains(machine: Machine) -> list[Finding]:
    """What is stopped before it is routed; nothing is said where nothing is."""
    found = _stops(machine, "prerouting")
    if not found:
        return []
    seen = f"packets of containers are stopped before they are routed: {_listed(found)}"
    can: Can = dict.fromkeys(("out", "publish"))
    return [Finding(TOPIC, "prerouting", WARNING, seen, _let_through(machine, found), can)]


def _bridge_chains(machine: Machine) -> list[Finding]:
    """nftables' family bridge sees frames before iptables does; nothing is said if it has none."""
    found = _stops(machine, *_FRAMES, family="bridge")
    if not found:
        return []
    seen = f"frames of containers are stopped on the bridge: {_listed(found)}"
    can: Can = dict.fromkeys(("out", "publish"))
    return [Finding(TOPIC, "bridge chains", WARNING, seen, _let_through(machine, found), can)]


def firewalld_trusts(machine: Machine) -> bool:
    """Whether firewalld lets all through that the bridge forwards."""
    zone = machine.run("firewall-cmd", f"--get-zone-of-interface={machine.tell('bridge')[0]}")
    return zone is not None and zone.code == 0 and zone.text == "trusted"


def _stops(machine: Machine, *hooks: str, family: str = "ip") -> list[nftables.Stop]:
    answer = machine.run("nft", "list", "ruleset")
    if answer is None or answer.code != 0:
        return []
    found = nftables.stops(answer.text, machine.tell("bridge")[0], _published(machine))
    bridged = [stop for stop in found if stop.chain.table.startswith("bridge ")]
    of_family = bridged if family == "bridge" else [stop for stop in found if stop not in bridged]
    found = [stop for stop in of_family if stop.chain.hook in hooks]
    if any(map(_is_firewalld, found)) and firewalld_trusts(machine):  # by zones, far down its rules
        return [stop for stop in found if not _is_firewalld(stop)]
    return found


def _published(machine: Machine) -> list[int]:
    """The ports of TCP that the store's containers have published now."""
    text = machine.read(f"{machine.tell('store')[0]}/networks/bridge.json")
    leases = json.loads(text).get("Leases", {}).values() if text else ()
    bindings = [binding for lease in leases for binding in lease.get("Bindings", ())]
    return sorted({int(each["HostPort"]) for each in bindings if each["Proto"] == "tcp"})


def _is_firewalld(stop: nftables.Stop) -> bool:
    return stop.chain.table == "inet firewalld"


def _before_them(stop: nftables.Stop) -> bool:
    """Whether our rules, or an engine's for its own bridges, are asked before this one's."""
    return stop.chain.table in _HARMLESS_TABLES


def _listed(found: list[nftables.Stop]) -> str:
    return ", ".join(map(str, found))


def _let_through(machine: Machine, found: list[nftables.Stop]) -> str:
    """The commands that put the missing rules first; firewalld has words of its own."""
    bridge = machine.tell("bridge")[0]
    if any(map(_is_firewalld, found)):
        return trust_command(bridge)
    return "; ".join(stop.fix() for stop in found)


def trust_command(bridge: str) -> str:
    """How firewalld is told to let a bridge's packets through, now and after a reload."""
    command = f"firewall-cmd --permanent --zone=trusted --add-interface={bridge}"
    return f"{command}; firewall-cmd --reload"
