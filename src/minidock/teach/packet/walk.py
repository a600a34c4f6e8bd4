"""From what was seen of a probe: its hops, one by one, and where and why it ends.

    the probe     socket → OUTPUT or PREROUTING → routing → FORWARD → POSTROUTING
                  → bridge → cable → eth0 → the program
    the answer    eth0 → cable → bridge → PREROUTING … → socket

A hop is told only where somebody saw the packet: the firewall's trace, a packet socket, /proc. The
first thing that is wrong ends the walk. Nothing here asks the kernel: all of it stands in `Seen`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from minidock.teach.packet import advice
from minidock.teach.packet.causes import Verdict
from minidock.teach.packet.firewall_trace import Packet, Rule, Station, Way
from minidock.teach.packet.listeners import Listener
from minidock.teach.packet.other_packets import notes
from minidock.teach.packet.probe import Seen
from minidock.teach.packet.steps import Step, Steps
from minidock.teach.packet.taps import Sighting

_WHERE = {"outside": ", on a machine next door"}
ANSWERED, RELAYED, STOPPED = "answered", "relayed", "stopped"


class Because(NamedTuple):
    """A rule that did something, and the step that made it; None where no journal has it."""

    table: str
    rule: str
    step: Step | None


@dataclass
class Hop:
    """One place where the packet was.

    place: "socket", "nat OUTPUT", "bridge", ... text: what happened there. rules: that did it.
    step: which made the device. is_end: the packet got no further.
    """

    place: str
    text: str
    rules: list[Because] = field(default_factory=list)
    step: Step | None = None
    is_end: bool = False


@dataclass
class Walk:
    """The hops, the verdict, and the network's rules that are missing: (table, chain, rule).

    notes: what this probe did not meet, and another packet may.
    """

    seen: Seen
    hops: list[Hop]
    verdict: Verdict
    missing: list[tuple[str, str, str]]
    notes: list[str]


def walk(seen: Seen, steps: Steps) -> Walk:
    """What happened to a probe."""
    walker = _Walker(seen, steps)
    verdict = walker.there() or walker.inside() or walker.back()
    if verdict.status == STOPPED:
        walker.hops[-1].is_end = True
    return Walk(seen, walker.hops, verdict, seen.target.missing(seen.saved), notes(seen))


class _Walker:
    """Tells hop after hop; a method that finds the end returns the verdict."""

    def __init__(self, seen: Seen, steps: Steps) -> None:
        self.seen = seen
        self.steps = steps
        self.hops: list[Hop] = []
        self._is_relayed = False

    def there(self) -> Verdict | None:
        """From the socket to the container's eth0."""
        seen = self.seen
        asked = _place(seen.asked, seen.target.port)
        if not seen.source:
            self._hop("socket", f"to {asked}")
            return advice.no_route(seen)
        mark = (
            f", marked {seen.mark:#x}"
            if seen.mark is not None
            else _WHERE.get(seen.origin, f", in {seen.origin}")
        )
        everywhere = advice.published(seen.target)
        self._hop("socket", f"{_place(seen.source, seen.source_port)} → {asked}{mark}{everywhere}")
        if seen.probe and (verdict := self._firewall(seen.probe)):
            return verdict
        if self._is_for_the_container() or seen.target.is_direct:
            return self._devices()
        if self._is_lost_in_routing():
            self._hop("routing", f"to {seen.target.address}: not seen again")
            return advice.not_routed(seen)
        return self._on_the_host()

    def _is_lost_in_routing(self) -> bool:
        """Whether a rule translated it, and it was not seen again on its way out of this host."""
        last = self.seen.probe.stations[-1] if self.seen.probe else None
        return bool(last and any("-j DNAT" in rule.text for rule in last.rules))

    def _is_for_the_container(self) -> bool:
        packet = self.seen.translated
        return packet is not None and packet.destination == self.seen.target.address

    def _on_the_host(self) -> Verdict | None:
        """The packet was not translated: somebody on the host has it, mostly the relay."""
        seen = self.seen
        if seen.relay is None:
            return advice.not_translated(seen)
        name = f"pid {seen.holder[0]}, " if seen.holder[0] else ""
        self._hop(
            "relay",
            f"the port's holder ({name}the monitor of {seen.target.container.name}) has it, and "
            f"calls {seen.target.address}:{seen.target.container_port} itself",
        )
        self._is_relayed = True
        return self._firewall(seen.relay) or self._devices()

    def _firewall(self, way: Way) -> Verdict | None:
        """The tables of the host's firewall, where they did something with the packet."""
        for station in way.stations:
            place = f"{station.table} {station.chain}".strip()
            told = self._because(station.rules)
            if station.dropped_by:
                self._hop(place, "dropped", told)
                return advice.dropped(self.seen, station.dropped_by)
            if station.table == "nat" and station.packet:
                self._translation(way, station, place, told)
            elif station.table and station.rules and not station.rules[-1].is_policy:
                self._hop(place, "let through", told)
            if verdict := self._route(way, station):
                return verdict
        return None

    def _translation(self, way: Way, station: Station, place: str, told: list[Because]) -> None:
        before, after = station.packet, next_packet(way, station)
        assert before is not None
        if after and after.receiver != before.receiver:
            self._hop(place, f"{before.receiver} becomes {after.receiver}", told)
        elif after and after.sender != before.sender:
            self._hop(place, f"the sender {before.sender} becomes {after.sender}", told)
        elif station.rules and "-j DNAT" in station.rules[-1].text:
            self._hop(place, f"a rule takes it: {before.receiver} is translated", told)
        elif station.chain in ("OUTPUT", "PREROUTING") and not self._is_relayed:
            self._hop(place, f"no rule takes it: it stays {before.receiver}")

    def _route(self, way: Way, station: Station) -> Verdict | None:
        """Behind the last table before the kernel chooses a device: which it chose."""
        if station.chain not in ("OUTPUT", "PREROUTING") or station.table != "nat":
            return None
        target = self.seen.target
        rest = way.stations[way.stations.index(station) + 1 :]
        routed = next((each for each in rest if not each.table and each.leaves_by), None)
        if not routed or not routed.packet or routed.packet.destination != target.address:
            return None
        device = self.seen.devices.get(routed.leaves_by, "?")
        if device != target.bridge:
            self._hop("routing", f"{target.address} is sent to {device}, not to {target.bridge}")
            return advice.not_routed(self.seen)
        gateway = target.network["Gateway"]
        step = self.steps.of_link("add_address", device=device, address=gateway)
        self._hop("routing", f"{target.address} is behind {device}", step=step)
        return None

    def _devices(self) -> Verdict | None:
        seen, target = self.seen, self.seen.target
        cable, interface = target.lease["Cable"], target.lease["Interface"]
        here = f"/proc/{target.pid}/ns/net"
        passed = (
            ("bridge", target.bridge, seen.bridge, self._made("add_bridge", name=target.bridge)),
            ("cable", f"{cable}, plugged into it", seen.cable, self._made("add_veth", name=cable)),
            (
                "container",
                f"{interface}, {target.address}: the cable's other end",
                seen.inside,
                self._made("add_address", where=here, device=interface),
            ),
        )
        for place, text, sightings, step in passed:
            if place == "bridge" and (self._is_switched() or self._is_between_ports()):
                text += ": from one cable to the other, without its host's end (br_netfilter)"
            elif not _is_seen(sightings, to=target.address):
                self._hop(place, f"{text}: not seen there")
                return advice.lost(seen, place)
            self._hop(place, text, step=step)
        return None

    def _is_switched(self) -> bool:
        """Whether the bridge itself handed it on, from one of its ports to another.

        Where bridged packets pass the firewall (br_netfilter), DNAT may turn a frame round that the
        host's own end of the bridge never gets to see.
        """
        cable, address = self.seen.cable, self.seen.target.address
        return _is_seen(cable, to=address) and not _is_seen(self.seen.bridge, to=address)

    def _is_between_ports(self) -> bool:
        """Whether the caller is on the same bridge, and calls the container itself."""
        target = self.seen.target
        return target.is_direct and self.seen.came_by == target.bridge

    def inside(self) -> Verdict | None:
        """The container's kernel, and who listens."""
        seen, target = self.seen, self.seen.target
        answer = _answer(seen.inside, target.address)
        fitting = [
            each
            for each in seen.listeners
            if each.port == target.container_port and each.hears(target.address)
        ]
        if answer and "RST" in answer.packet.flags:
            self._hop("program", f"none: {target.address}:{target.container_port} is refused (RST)")
            return advice.refused(seen)
        if answer is None and target.protocol == "udp" and seen.outcome == "ECONNREFUSED":
            self._hop(
                "program", f"none: {target.address}:{target.container_port} is refused (ICMP)"
            )
            return advice.refused(seen)
        if answer is None and target.protocol == "udp" and fitting:
            where = f"{_program(fitting[0])} has {fitting[0].place}"
            self._hop("program", f"{where}; no answer")
            return advice.datagram(seen, fitting[0])
        if answer is None:
            self._hop("program", "no answer")
            return advice.silent(seen)
        listener = fitting[0] if fitting else None
        whose = f"{_program(listener)} listens on {listener.place}" if listener else ""
        meaning = advice.any_address(target, listener) if listener and listener.is_any else ""
        self._hop("program", whose + meaning if whose else "somebody listened, and has ended since")
        return None

    def back(self) -> Verdict:
        """The answer's way; there is one, or `inside` would have ended the walk."""
        seen, target = self.seen, self.seen.target
        answer = _answer(seen.inside, target.address)
        assert answer is not None
        words = f"{answer.packet.flags} {answer.packet.sender} → {answer.packet.receiver}"
        for place, sightings in (("cable", seen.cable), ("bridge", seen.bridge)):
            # Where the firewall is asked about bridged packets too, it may end there already.
            switched = self._is_switched() or self._is_between_ports()
            by_the_firewall = place == "bridge" and (switched or seen.answer)
            if _answer(sightings, target.address) is None and not by_the_firewall:
                self._hop("answer", words)
                return advice.answer_lost(seen, place)
        self._hop("answer", f"{words}, by cable and bridge")
        if seen.answer and (verdict := self._back_through(seen.answer)):
            return verdict
        if seen.outcome != "connected":
            self._hop("socket", "no answer")
            return advice.answer_lost(seen, "socket")
        done = "connected" if target.protocol == "tcp" else "answered"
        self._hop("socket", f"{done} after {elapsed(seen.us)}")
        return advice.arrived(seen, RELAYED if self._is_relayed else ANSWERED)

    def _back_through(self, way: Way) -> Verdict | None:
        for station in way.stations:
            if station.dropped_by:
                place = f"{station.table} {station.chain}"
                self._hop(place, "the answer is dropped", self._because(station.rules))
                return advice.dropped(self.seen, station.dropped_by, answer=True)
            if station.chain == "FORWARD" and not station.rules[-1].is_policy:
                self._hop("filter FORWARD", "let through", self._because(station.rules))
        first, last = way.first, way.stations[-1].packet
        if first and last and (first.sender, first.receiver) != (last.sender, last.receiver):
            self._hop("tracking", f"turned back: {last.sender} → {last.receiver}")
        return None

    def _because(self, rules: list[Rule]) -> list[Because]:
        return [
            Because(r.table, r.text, None if r.is_policy else self.steps.of_rule(r.table, r.text))
            for r in rules
        ]

    def _made(self, op: str, **arguments: str) -> Step | None:
        return self.steps.of_link(op, **arguments)

    def _hop(
        self,
        place: str,
        text: str,
        rules: list[Because] | None = None,
        *,
        step: Step | None = None,
    ) -> None:
        self.hops.append(Hop(place, text, rules or [], step))


def next_packet(way: Way, station: Station) -> Packet | None:
    """The packet as it was after a station; None where it was not seen again."""
    rest = way.stations[way.stations.index(station) + 1 :]
    return next((each.packet for each in rest if each.packet), None)


def _is_seen(sightings: list[Sighting], *, to: str) -> bool:
    return any(s.packet.destination == to and s.packet.is_call for s in sightings)


def _answer(sightings: list[Sighting], address: str) -> Sighting | None:
    """The container's first packet: SYN+ACK, a reset, or a datagram."""
    ours = [s for s in sightings if s.packet.source == address]
    return next((s for s in ours if s.packet.is_answer), None)


def _program(listener: Listener) -> str:
    name, _, pid = listener.process.partition(", ")
    return f"{name} ({pid})" if name else "a program"


def _place(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def elapsed(us: int) -> str:
    """A time for people."""
    return f"{us} µs" if us < 1000 else f"{us / 1000:.1f} ms"
