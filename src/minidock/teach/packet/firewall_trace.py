"""A packet's way through the host's firewall, as the firewall itself tells it.

The kernel reports (kernel/nftrace.py) by table, chain and a rule's number; people know rules as
iptables-save prints them. In each chain both stand in the same order, so the one is found by the
other's place.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from socket import inet_ntoa
from typing import NamedTuple

from minidock.engine.network import firewall
from minidock.errors import MinidockError
from minidock.kernel import iptables, nftrace

_FLAGS = ((0x02, "SYN"), (0x10, "ACK"), (0x04, "RST"), (0x01, "FIN"))
_TCP, _UDP = 6, 17
DATAGRAM = "UDP"  # stands where a TCP packet has its flags
_TRIES = 5


class Packet(NamedTuple):
    """The four numbers of a packet, and its flags such as "SYN" or "SYN+ACK"; of UDP, DATAGRAM."""

    source: str
    source_port: int
    destination: str
    destination_port: int
    flags: str

    @property
    def is_call(self) -> bool:
        """Whether it may be the first of a conversation."""
        return self.flags in ("SYN", DATAGRAM)

    @property
    def is_answer(self) -> bool:
        """Whether it may be the first that comes back."""
        return self.flags in ("SYN+ACK", "ACK+RST", "RST", DATAGRAM)

    @property
    def sender(self) -> str:
        return f"{self.source}:{self.source_port}"

    @property
    def receiver(self) -> str:
        return f"{self.destination}:{self.destination_port}"


class Rule(NamedTuple):
    """A rule, or a built-in chain's policy, in iptables' words.

    verdict: "jump", "accept" or "drop". to: where a jump leads. is_policy: text is "-P CHAIN DROP"
    then.
    """

    table: str
    chain: str
    text: str
    verdict: str
    to: str = ""
    is_policy: bool = False


@dataclass
class Station:
    """What one table's built-in chain did with the packet.

    chain: the built-in chain, such as OUTPUT; of our own table: a hook's name. packet: as it was
    when it came in there. rules: those that decided, with the jumps that led to them. came_by,
    leaves_by: indexes of devices.
    """

    table: str
    chain: str
    packet: Packet | None
    came_by: int
    leaves_by: int
    rules: list[Rule] = field(default_factory=list)

    @property
    def dropped_by(self) -> Rule | None:
        return next((rule for rule in self.rules if rule.verdict == "drop"), None)


@dataclass
class Way:
    """One packet's stations, in order."""

    stations: list[Station]

    @property
    def first(self) -> Packet | None:
        return self.stations[0].packet

    def at(self, chain: str, table: str = "") -> Station | None:
        """The last station of that name, such as "postrouting", or ("OUTPUT", "nat")."""
        found = [s for s in self.stations if s.chain == chain and table in ("", s.table)]
        return found[-1] if found else None

    @property
    def dropped_by(self) -> Rule | None:
        return next((s.dropped_by for s in self.stations if s.dropped_by), None)


class Rules:
    """All rules of the firewall, in iptables' words, found by the kernel's numbers.

    saved: what iptables-save prints. is_nft: whether these are rules of nf_tables, whose trace can
    be had; the others are known by their counters only.
    """

    def __init__(self) -> None:
        for _ in range(_TRIES):
            before = nftrace.handles()
            self.saved = _saved()
            self.is_nft = "(nf_tables)" in self.saved
            if not self.is_nft or before == nftrace.handles():
                break  # nobody changed them while they were read
        self._texts = {}
        if self.is_nft:
            for table, chains in firewall.parse(self.saved).items():
                for chain, rules in chains.items():
                    numbers = before.get((table, chain), [])
                    for number, rule in zip(numbers, rules, strict=False):
                        self._texts[table, number] = f"-A {chain} {rule}"

    def text(self, event: nftrace.Event) -> str:
        """The rule of an event, or what is known of a rule that is not iptables'."""
        known = self._texts.get((event.table, event.handle)) if event.family == 2 else None
        return known or f"rule {event.handle} of nft's chain {event.table} {event.chain}"


def _saved() -> str:
    with iptables.Listing() as listing:
        return listing.text()


def parse(header: bytes) -> Packet | None:
    """A TCP or UDP packet from its IPv4 header on; None for anything else."""
    if len(header) < 20 or header[0] >> 4 != 4 or header[9] not in (_TCP, _UDP):
        return None
    tcp = header[(header[0] & 15) * 4 :]
    if len(tcp) < (14 if header[9] == _TCP else 8):
        return None
    flags = DATAGRAM
    if header[9] == _TCP:
        flags = "+".join(name for bit, name in _FLAGS if tcp[13] & bit)
    return Packet(
        inet_ntoa(header[12:16]),
        int.from_bytes(tcp[0:2], "big"),
        inet_ntoa(header[16:20]),
        int.from_bytes(tcp[2:4], "big"),
        flags,
    )


def ways(events: list[nftrace.Event], own: str, rules: Rules) -> list[Way]:
    """Events, as they came, by packet. own: the name of the table that set the trace bit."""
    found: list[Way] = []
    open_ways: dict[int, Way] = {}
    for event in events:
        sets_the_bit = event.table == own and event.chain in ("prerouting", "output")
        if sets_the_bit and event.header and event.kind == nftrace.RULE:
            open_ways[event.packet] = Way([])
            found.append(open_ways[event.packet])
        elif event.packet not in open_ways and (known := _renamed(event, found)):
            open_ways[event.packet] = known
        if event.packet in open_ways:
            _add(open_ways[event.packet], event, own, rules)
    for way in found:
        for station in way.stations:
            station.rules = _that_decided(station.rules)
    return found


def _renamed(event: nftrace.Event, found: list[Way]) -> Way | None:
    """The way of a packet that goes on under another number.

    The kernel's number is made of what it knows of a packet, and once that is routed it may know
    more. On its way through the host a call keeps its source until the end, and an answer its
    destination's port.
    """
    packet = parse(event.header)
    for way in reversed(found):
        last = way.stations[-1].packet
        if packet and last and packet.flags == last.flags:
            if packet.is_call and packet[:2] == last[:2]:
                return way
            if packet.is_answer and packet.destination_port == last.destination_port:
                return way
    return None


def _add(way: Way, event: nftrace.Event, own: str, rules: Rules) -> None:
    if event.header:  # said once for each built-in chain, with its first event
        table = "" if event.table == own else event.table
        packet = parse(event.header)
        way.stations.append(Station(table, event.chain, packet, event.came_by, event.leaves_by))
    if not way.stations:
        raise MinidockError("the kernel's account of a packet has no beginning", hint="try again")
    if event.table == own or (event.kind == nftrace.RULE and not event.handle):
        return
    verdicts = {nftrace.DROP: "drop", nftrace.ACCEPT: "accept", nftrace.JUMP: "jump"}
    verdict = verdicts.get(event.verdict, "jump" if event.verdict == nftrace.GOTO else "")
    if event.kind == nftrace.POLICY:
        text = f"-P {event.chain} {'DROP' if verdict == 'drop' else 'ACCEPT'}"
        rule = Rule(event.table, event.chain, text, verdict, is_policy=True)
    else:
        rule = Rule(event.table, event.chain, rules.text(event), verdict, event.to)
    way.stations[-1].rules.append(rule)


def _that_decided(rules: list[Rule]) -> list[Rule]:
    """The last word and the jumps that led to it; what led nowhere is left out."""
    if not rules or rules[-1].verdict not in ("drop", "accept"):
        return []
    kept = [rules[-1]]
    for rule in reversed(rules[:-1]):
        if rule.verdict == "jump" and rule.to == kept[0].chain:
            kept.insert(0, rule)
    return kept
