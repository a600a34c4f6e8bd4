"""Other firewall rules: chains of nftables and of iptables that can drop containers' packets.

    FORWARD          what containers send to other machines, and what comes back
    INPUT, OUTPUT    what this machine and its containers send each other
    prerouting       all that comes in, before it is routed
    postrouting      all that goes out, after it was routed
    device chains    ingress and egress of a bridge, which nothing else comes before
    bridge chains    frames, before any of these

All of them are checked for each bridge: of the default network, and of user-defined ones. Ingress
and egress chains of a container's veth, or of any device that is not a bridge, are not evaluated,
and the report says so.

Sources: xtables-nft(8), nft(8) "CHAINS"; firewall-cmd(1).
"""

from __future__ import annotations

from collections.abc import Iterable

from minidock.engine.doctor import iptables_rules, nftables
from minidock.engine.doctor.finding import NEEDS_ROOT, OK, UNKNOWN, WARNING, Can, Finding
from minidock.engine.doctor.machine import Machine
from minidock.engine.doctor.store_networks import bridges, networks
from minidock.engine.network import firewall

TOPIC = "Network"

# nftables' tables whose forward chains do not affect us: iptables' own, other engines'.
_HARMLESS_TABLES = ("ip filter", "ip libvirt_network", "inet netavark", "ip docker-bridges")
_OF_HOST = {
    "INPUT": "replies of containers to this machine are accepted",
    "OUTPUT": "packets of this machine to containers are accepted",
}
_FRAMES = ("prerouting", "input", "forward", "output", "postrouting")


def findings(machine: Machine) -> list[Finding]:
    """Check what each hook does with a container's packets."""
    return [
        _forward_chain(machine),
        *_host_chains(machine),
        *_early_chains(machine),
        *_late_chains(machine),
        *_device_chains(machine),
        *_bridge_chains(machine),
    ]


def backend(machine: Machine) -> str:
    """Return the kind of this machine's iptables: "nft", "legacy", or "" if not installed."""
    answer = machine.run("iptables", "-V")
    if answer is None or answer.code != 0:
        return ""
    return "nft" if "nf_tables" in answer.text else "legacy"


def _forward_chain(machine: Machine) -> Finding:
    """Check other rules for forwarded packets; in iptables ours come first."""
    check = "FORWARD"
    saved = machine.run("iptables-save", "-t", "filter")
    if saved is None or saved.code != 0:
        seen = saved.text.splitlines()[-1] if saved and saved.text else NEEDS_ROOT
        return Finding(TOPIC, check, UNKNOWN, seen, can={"out": None})
    policy = firewall.forward_policy(saved.text)
    if found := [stop for stop in _stops(machine, "forward") if not _before_them(stop)]:
        seen = f"policy {policy}, but nftables may drop packets of containers: {_listed(found)}"
        return Finding(TOPIC, check, WARNING, seen, _accepting(machine, found), {"out": None})
    note = "; minidock's rules accept packets before it" if policy == "DROP" else ""
    return Finding(TOPIC, check, OK, f"policy {policy}{note}")


def _host_chains(machine: Machine) -> list[Finding]:
    """Check the host's own connections to a published port, and the replies."""
    found = []
    for check, well in _OF_HOST.items():
        verdict, seen, fix, can = OK, well, "", Can()
        if stops := [*_stops(machine, check.lower()), *_legacy_stops(machine, check)]:
            verdict, can = WARNING, {"publish": None}
            seen = f"a port published on 127.0.0.1 is unreachable: dropped by {_listed(stops)}"
            fix = _accepting(machine, stops)
        found.append(Finding(TOPIC, check, verdict, seen, fix, can))
    return found


def _legacy_stops(machine: Machine, chain: str) -> list[nftables.Stop]:
    """Check the tables of iptables-legacy, which nft does not list."""
    if backend(machine) == "legacy":
        tool, saved = "iptables", machine.run("iptables-save", "-t", "filter")
    elif "filter" in (machine.read("/proc/net/ip_tables_names") or "").split():
        # Listing the tables creates them, so this is done only if one exists already.
        tool, saved = "iptables-legacy", machine.run("iptables-legacy-save")
    else:
        return []
    if saved is None or saved.code != 0:
        return []
    found = _merged(
        stop
        for bridge in bridges(machine)
        for stop in iptables_rules.stops(saved.text, bridge, tool=tool)
    )
    return [stop for stop in found if stop.chain.name == chain]


def _early_chains(machine: Machine) -> list[Finding]:
    """Check for packets dropped before routing; no finding if there are none."""
    found = _stops(machine, "prerouting")
    if not found:
        return []
    seen = f"packets of containers are dropped before routing: {_listed(found)}"
    can: Can = dict.fromkeys(("out", "publish"))
    return [Finding(TOPIC, "prerouting", WARNING, seen, _accepting(machine, found), can)]


def _late_chains(machine: Machine) -> list[Finding]:
    """Check for packets dropped after routing; no finding if there are none."""
    found = _stops(machine, "postrouting")
    if not found:
        return []
    seen = f"packets of containers are dropped after routing: {_listed(found)}"
    can: Can = dict.fromkeys(("out", "publish"))
    return [Finding(TOPIC, "postrouting", WARNING, seen, _accepting(machine, found), can)]


def _device_chains(machine: Machine) -> list[Finding]:
    """Check a bridge's ingress and egress chains; list those of other devices as not checked."""
    check = "device chains"
    can: Can = dict.fromkeys(("out", "publish"))
    if found := _stops(machine, "ingress", "egress", family="device"):
        seen = f"packets of containers are dropped at their bridge: {_listed(found)}"
        return [Finding(TOPIC, check, WARNING, seen, _accepting(machine, found), can)]
    answer = machine.run("nft", "list", "ruleset")
    text = answer.text if answer and answer.code == 0 else ""
    if others := nftables.of_other_devices(text, bridges(machine)):
        named = ", ".join(f"{c.table} {c.name} ({' '.join(c.devices)})" for c in others)
        seen = (
            f"not evaluated: chains of other devices that may drop packets of containers: {named}"
        )
        return [Finding(TOPIC, check, UNKNOWN, seen, can=can)]
    return []


def _bridge_chains(machine: Machine) -> list[Finding]:
    """Check nftables' bridge family, which sees frames before iptables; no finding if unused."""
    found = _stops(machine, *_FRAMES, family="bridge")
    if not found:
        return []
    seen = f"frames of containers are dropped on the bridge: {_listed(found)}"
    can: Can = dict.fromkeys(("out", "publish"))
    return [Finding(TOPIC, "bridge chains", WARNING, seen, _accepting(machine, found), can)]


def firewalld_trusts(machine: Machine, bridge: str) -> bool:
    """Whether firewalld accepts all packets that a bridge forwards."""
    zone = machine.run("firewall-cmd", f"--get-zone-of-interface={bridge}")
    return zone is not None and zone.code == 0 and zone.text == "trusted"


def _stops(machine: Machine, *hooks: str, family: str = "ip") -> list[nftables.Stop]:
    """Find the chains of these hooks that drop packets of a bridge, each once."""
    answer = machine.run("nft", "list", "ruleset")
    if answer is None or answer.code != 0:
        return []
    found = []
    for bridge in bridges(machine):
        stops = nftables.stops(answer.text, bridge, _published(machine))
        stops = [s for s in stops if s.chain.family == family and s.chain.hook in hooks]
        if any(map(_is_firewalld, stops)) and firewalld_trusts(machine, bridge):
            stops = [s for s in stops if not _is_firewalld(s)]  # by zones, far down its rules
        found += stops
    return _merged(found)


def _merged(stops: Iterable[nftables.Stop]) -> list[nftables.Stop]:
    """Merge the results per chain, with the rules for all bridges."""
    found: dict[tuple[str, str], nftables.Stop] = {}
    for stop in stops:
        key = stop.chain.table, stop.chain.name
        rules = found[key].rules if key in found else []
        rules = [*rules, *(rule for rule in stop.rules if rule not in rules)]
        found[key] = nftables.Stop(stop.chain, rules, stop.tool)
    return [*found.values()]


def _published(machine: Machine) -> list[int]:
    """List the TCP ports that the store's containers publish now."""
    leases = [lease for each in networks(machine) for lease in each.get("Leases", {}).values()]
    bindings = [binding for lease in leases for binding in lease.get("Bindings", ())]
    return sorted({int(each["HostPort"]) for each in bindings if each["Proto"] == "tcp"})


def _is_firewalld(stop: nftables.Stop) -> bool:
    return stop.chain.table == "inet firewalld"


def _before_them(stop: nftables.Stop) -> bool:
    """Whether our rules, or another engine's for its own bridges, come before this one's."""
    return stop.chain.table in _HARMLESS_TABLES


def _listed(found: list[nftables.Stop]) -> str:
    return ", ".join(map(str, found))


def _accepting(machine: Machine, found: list[nftables.Stop]) -> str:
    """Return the commands that insert the missing rules first; firewalld has its own."""
    if any(map(_is_firewalld, found)):
        names = [name for name in bridges(machine) if not firewalld_trusts(machine, name)]
        return trust_command(*names)
    return "; ".join(stop.fix() for stop in found)


def trust_command(*names: str) -> str:
    """Return the commands by which firewalld accepts bridges' packets, also after a reload."""
    command = "firewall-cmd --permanent --zone=trusted --add-interface="
    return "; ".join([*(f"{command}{name}" for name in names), "firewall-cmd --reload"])
