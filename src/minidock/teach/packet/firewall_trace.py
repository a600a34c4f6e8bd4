"""A packet's path through netfilter, from the trace events of nf_tables.

The kernel reports table, chain and rule handle (kernel/nftrace.py); people know rules as
iptables-save prints them. Both list a chain's rules in the same order, which maps one to the other.
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
DATAGRAM = "UDP"  # instead of TCP flags
_TRIES = 5


class Packet(NamedTuple):
    """The 4-tuple of a packet, and its TCP flags such as "SYN+ACK"; for UDP, DATAGRAM."""

    source: str
    source_port: int
    destination: str
    destination_port: int
    flags: str

    @property
    def opens_flow(self) -> bool:
        """Whether it may be the first packet of a flow."""
        return self.flags in ("SYN", DATAGRAM)

    @property
    def may_answer(self) -> bool:
        """Whether it may be the first packet of the answer."""
        return self.flags in ("SYN+ACK", "ACK+RST", "RST", DATAGRAM)

    @property
    def sender(self) -> str:
        return f"{self.source}:{self.source_port}"

    @property
    def receiver(self) -> str:
        return f"{self.destination}:{self.destination_port}"


class Rule(NamedTuple):
    """A rule, or a built-in chain's policy, as iptables-save prints it.

    verdict: "jump", "accept" or "drop". to: the target of a jump. is_policy: text is such as
    "-P FORWARD DROP".
    """

    table: str
    chain: str
    text: str
    verdict: str
    to: str = ""
    is_policy: bool = False


@dataclass
class ChainTrace:
    """What one built-in chain of a table did with the packet.

    chain: such as OUTPUT; in the tracing table: the hook's name. packet: on entry to the chain.
    rules: the deciding rule, after the jumps to it. came_by, leaves_by: indexes of devices.
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
class PacketTrace:
    """The chains that one packet passed, in order."""

    chains: list[ChainTrace]

    @property
    def first(self) -> Packet | None:
        return self.chains[0].packet

    def at(self, chain: str, table: str = "") -> ChainTrace | None:
        """The last chain of that name, such as "postrouting", or ("OUTPUT", "nat")."""
        found = [s for s in self.chains if s.chain == chain and table in ("", s.table)]
        return found[-1] if found else None

    @property
    def dropped_by(self) -> Rule | None:
        return next((s.dropped_by for s in self.chains if s.dropped_by), None)


class Rules:
    """All rules of the firewall as iptables-save prints them, by rule handle.

    saved: the output of iptables-save. is_nft: whether the rules are in nf_tables, which can trace;
    legacy iptables only has counters.
    """

    def __init__(self) -> None:
        for _ in range(_TRIES):
            before = nftrace.handles()
            self.saved = _saved()
            self.is_nft = "(nf_tables)" in self.saved
            if not self.is_nft or before == nftrace.handles():
                break  # unchanged while they were read
        self._texts = {}
        if self.is_nft:
            for table, chains in firewall.parse(self.saved).items():
                for chain, rules in chains.items():
                    numbers = before.get((table, chain), [])
                    for number, rule in zip(numbers, rules, strict=False):
                        self._texts[table, number] = f"-A {chain} {rule}"

    def text(self, event: nftrace.Event) -> str:
        """The rule of an event; a description for a rule that iptables does not list."""
        known = self._texts.get((event.table, event.handle)) if event.family == 2 else None
        return known or f"rule {event.handle} of nft's chain {event.table} {event.chain}"


def _saved() -> str:
    with iptables.Listing() as listing:
        return listing.text()


def parse(header: bytes) -> Packet | None:
    """Parse a TCP or UDP packet that begins with its IPv4 header; None for any other."""
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


def packet_traces(events: list[nftrace.Event], own: str, rules: Rules) -> list[PacketTrace]:
    """Group trace events by packet. own: the name of the table that sets the trace bit."""
    found: list[PacketTrace] = []
    open_ways: dict[int, PacketTrace] = {}
    for event in events:
        sets_the_bit = event.table == own and event.chain in ("prerouting", "output")
        if sets_the_bit and event.header and event.kind == nftrace.RULE:
            open_ways[event.packet] = PacketTrace([])
            found.append(open_ways[event.packet])
        elif event.packet not in open_ways and (known := _continued(event, found)):
            open_ways[event.packet] = known
        if event.packet in open_ways:
            _add(open_ways[event.packet], event, own, rules)
    for trace in found:
        for chain_trace in trace.chains:
            chain_trace.rules = _deciding_rules(chain_trace.rules)
    return found


def _continued(event: nftrace.Event, found: list[PacketTrace]) -> PacketTrace | None:
    """The trace that an event continues although its trace id is new.

    The kernel hashes the trace id from the packet's metadata, which changes with routing. A request
    keeps its source until postrouting, an answer keeps its destination port.
    """
    packet = parse(event.header)
    for trace in reversed(found):
        last = trace.chains[-1].packet
        if packet and last and packet.flags == last.flags:
            if packet.opens_flow and packet[:2] == last[:2]:
                return trace
            if packet.may_answer and packet.destination_port == last.destination_port:
                return trace
    return None


def _add(trace: PacketTrace, event: nftrace.Event, own: str, rules: Rules) -> None:
    if event.header:  # only in the first event of a chain
        table = "" if event.table == own else event.table
        packet = parse(event.header)
        trace.chains.append(ChainTrace(table, event.chain, packet, event.came_by, event.leaves_by))
    if not trace.chains:
        raise MinidockError("the kernel's trace of a packet has no beginning", hint="try again")
    if event.table == own or (event.kind == nftrace.RULE and not event.handle):
        return
    verdicts = {nftrace.DROP: "drop", nftrace.ACCEPT: "accept", nftrace.JUMP: "jump"}
    verdict = verdicts.get(event.verdict, "jump" if event.verdict == nftrace.GOTO else "")
    if event.kind == nftrace.POLICY:
        text = f"-P {event.chain} {'DROP' if verdict == 'drop' else 'ACCEPT'}"
        rule = Rule(event.table, event.chain, text, verdict, is_policy=True)
    else:
        rule = Rule(event.table, event.chain, rules.text(event), verdict, event.to)
    trace.chains[-1].rules.append(rule)


def _deciding_rules(rules: list[Rule]) -> list[Rule]:
    """The final rule and the jumps to it, without jumps that returned."""
    if not rules or rules[-1].verdict not in ("drop", "accept"):
        return []
    kept = [rules[-1]]
    for rule in reversed(rules[:-1]):
        if rule.verdict == "jump" and rule.to == kept[0].chain:
            kept.insert(0, rule)
    return kept
