"""Changes by operations on links, addresses, routes, ports and firewall rules."""

from __future__ import annotations

import re

from minidock.teach.look.thing import OFF, ON, READY, TOUCHED, Change, Making, always, is_inside

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.teach.journal_reader import JournalEntry
    from minidock.teach.look.thing import Effect

_DEVICE = re.compile(r"^net/ipv[46]/(?:conf|neigh)/([^/]+)/")


def _bridge(entry: JournalEntry, making: Making) -> list[Change]:
    return [Change("bridge", str(entry.record["args"]["name"]), READY)]


def _veth(entry: JournalEntry, making: Making) -> list[Change]:
    """The end on the host, and its peer in the container."""
    args = entry.record["args"]
    making.peers[str(args["peer"])] = str(args["name"])
    return [
        Change("veth", str(args["name"]), READY),
        Change("interface", str(args["peer"]), READY),
        *([Change("bridge", str(args["bridge"]))] if args.get("bridge") else []),
    ]


def _interface(entry: JournalEntry, making: Making, device: str = "") -> tuple[str, str]:
    """The thing of an operation on a device: (kind, name)."""
    args = entry.record["args"]
    device = device or str(args["device"])
    if args.get("where") or is_inside(entry) or device in making.peers:
        return "interface", device
    return ("veth" if device in making.peers.values() else "bridge"), device


def _changed(note: str, state: int = TOUCHED) -> Effect:
    """A change of a device; note: of its arguments."""

    def effect(entry: JournalEntry, making: Making) -> list[Change]:
        args = {name: str(value) for name, value in entry.record["args"].items()}
        kind, device = _interface(entry, making)
        return [Change(kind, device, state, note.format(**args))]

    return effect


def _delete(entry: JournalEntry, making: Making) -> list[Change]:
    """Either end of a veth pair takes the other along."""
    kind, device = _interface(entry, making)
    ends = {name: peer for peer, name in making.peers.items()}
    if device in ends:
        return [Change("veth", device, OFF), Change("interface", ends[device], OFF)]
    peer = [Change("veth", making.peers[device], OFF)] if device in making.peers else []
    return [Change(kind, device, OFF), *peer]


def _route(entry: JournalEntry, making: Making) -> list[Change]:
    return [Change("route", "default", ON, f"via {entry.record['args']['gateway']}")]


def _setting(entry: JournalEntry, making: Making) -> list[Change]:
    """A setting of a device concerns the device."""
    name, value = str(entry.record["args"]["name"]), str(entry.record["args"]["value"])
    if (found := _DEVICE.match(name)) and found[1] not in ("all", "default"):
        return [Change(*_interface(entry, making, found[1]), TOUCHED)]
    kind = "net setting" if is_inside(entry) else "host setting"
    return [Change(kind, name.removeprefix("net/"), ON, value)]


def _port(entry: JournalEntry, making: Making) -> list[Change]:
    args = entry.record["args"]
    return [Change("port", f"{args['host_port']}/{args['protocol']}")]


def _dns(entry: JournalEntry, making: Making) -> list[Change]:
    args = entry.record["args"]
    return [
        Change("net setting", "DNS", ON, f"{args.get('address', '')} {args.get('protocol', '')}")
    ]


def _rules(entry: JournalEntry, making: Making) -> list[Change]:
    rules = str(entry.record["args"].get("rules", ""))
    making.rules += len(re.findall(r"^-[AI] ", rules, re.MULTILINE))
    return [Change("firewall", "iptables", ON, f"+{making.rules}" if making.rules else "")]


EFFECTS: dict[str, Effect] = {
    "conntrack.forget_udp": always("firewall", "conntrack", READY),
    "iptables.restore": _rules,
    "iptables.save": always("firewall", "iptables", READY),
    "link.add_address": _changed("{address}/{prefix}"),
    "link.add_bridge": _bridge,
    "link.add_veth_pair": _veth,
    "link.add_default_route": _route,
    "link.add_veth": _veth,
    "link.delete": _delete,
    "link.delete_default_route": always("route", "default", OFF),
    "link.replace_default_route": _route,
    "link.set_alias": _changed(""),
    "link.set_hairpin": _changed(""),
    "link.set_isolated": _changed(""),
    "link.set_mtu": _changed("mtu {mtu}"),
    "link.set_up": _changed("", ON),
    "nftrace.follow": always("firewall", "trace", READY),
    "port.hold": _port,
    "port.listen_for_names": _dns,
    "sysctl.write": _setting,
}
