"""Turn the observations of a probe into hops, and a verdict where and why it ends.

    the probe     socket → OUTPUT or PREROUTING → routing → FORWARD → POSTROUTING
                  → bridge → veth → eth0 → the program
    the answer    eth0 → veth → bridge → PREROUTING … → socket

A hop needs an observation: a netfilter trace, a packet socket, or /proc. The first fault ends the
walk. This module does not ask the kernel: its only input is `ProbeResult`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from minidock.teach.packet import advice
from minidock.teach.packet.causes import Verdict
from minidock.teach.packet.firewall_trace import ChainTrace, Packet, PacketTrace, Rule
from minidock.teach.packet.listeners import Listener
from minidock.teach.packet.other_packets import notes
from minidock.teach.packet.probe import ProbeResult
from minidock.teach.packet.steps import Step, Steps
from minidock.teach.packet.taps import CapturedPacket

_WHERE = {"outside": ", on another machine (simulated)"}
ANSWERED, RELAYED, STOPPED = "answered", "relayed", "stopped"
HOST, CONTAINER, SENDER = "host", "container", "sender"
_INSIDE = ("container", "program", "answer")  # places in the network namespace of the container


class AppliedRule(NamedTuple):
    """A rule that matched, and the step that created it; None if no journal has it."""

    table: str
    rule: str
    step: Step | None


@dataclass
class Hop:
    """One point on the packet's path.

    place: "socket", "nat OUTPUT", "bridge", ... text: what happened there. rules: which matched.
    step: which created the device. is_end: the packet got no further. netns: whose network
    namespace it is in: HOST, CONTAINER (the one that is called), or SENDER (the one that calls, if
    it is neither). is_back: on the answer's way.
    """

    place: str
    text: str
    rules: list[AppliedRule] = field(default_factory=list)
    step: Step | None = None
    is_end: bool = False
    netns: str = HOST
    is_back: bool = False


@dataclass
class Walk:
    """The hops, the verdict, and the network's rules that are missing: (table, chain, rule).

    notes: about packets that may fare worse than the probe.
    """

    result: ProbeResult
    hops: list[Hop]
    verdict: Verdict
    missing: list[tuple[str, str, str]]
    notes: list[str]


def walk(result: ProbeResult, steps: Steps) -> Walk:
    """Follow a probe through its observations."""
    walker = _Walker(result, steps)
    verdict = walker.follow_request() or walker.inside() or walker.follow_answer()
    if verdict.status == STOPPED:
        walker.hops[-1].is_end = True
    return Walk(result, walker.hops, verdict, result.target.missing(result.saved), notes(result))


class _Walker:
    """Adds hop after hop; a method that finds the end returns the verdict."""

    def __init__(self, result: ProbeResult, steps: Steps) -> None:
        self.result = result
        self.steps = steps
        self.hops: list[Hop] = []
        self._is_proxied = False
        self._is_back = False

    def follow_request(self) -> Verdict | None:
        """Follow the request from the socket to the container's eth0."""
        result = self.result
        destination = _address_text(result.destination, result.target.port)
        if not result.source:
            self._hop("socket", f"to {destination}")
            return advice.no_route(result)
        mark = (
            f", marked {result.mark:#x}"
            if result.mark is not None
            else _WHERE.get(result.origin, f", in {result.origin}")
        )
        everywhere = advice.published(result.target)
        self._hop(
            "socket",
            f"{_address_text(result.source, result.source_port)} → {destination}{mark}{everywhere}",
        )
        if result.probe and (verdict := self._firewall(result.probe)):
            return verdict
        if self._is_for_the_container() or result.target.is_direct:
            return self._devices()
        if self._is_lost_in_routing():
            self._hop("routing", f"to {result.target.address}: not seen after that")
            return advice.not_routed(result)
        return self._on_the_host()

    def _is_lost_in_routing(self) -> bool:
        """Whether a DNAT rule matched, and no later hook saw the packet."""
        last = self.result.probe.chains[-1] if self.result.probe else None
        return bool(last and any("-j DNAT" in rule.text for rule in last.rules))

    def _is_for_the_container(self) -> bool:
        packet = self.result.translated
        return packet is not None and packet.destination == self.result.target.address

    def _on_the_host(self) -> Verdict | None:
        """The packet was not translated: a process of the host, usually the proxy, got it."""
        result = self.result
        if result.proxy is None:
            return advice.not_translated(result)
        name = f"pid {result.connection_owner[0]}, " if result.connection_owner[0] else ""
        self._hop(
            "proxy",
            f"the userland proxy ({name}the monitor of {result.target.container.name}) accepts it "
            f"and connects to {result.target.address}:{result.target.container_port}",
        )
        self._is_proxied = True
        return self._firewall(result.proxy) or self._devices()

    def _firewall(self, trace: PacketTrace) -> Verdict | None:
        """The chains of the host's firewall that matched the packet."""
        for chain_trace in trace.chains:
            place = f"{chain_trace.table} {chain_trace.chain}".strip()
            rules = self._because(chain_trace.rules)
            if chain_trace.dropped_by:
                self._hop(place, "dropped", rules)
                return advice.dropped(self.result, chain_trace.dropped_by)
            if chain_trace.table == "nat" and chain_trace.packet:
                self._translation(trace, chain_trace, place, rules)
            elif chain_trace.table and chain_trace.rules and not chain_trace.rules[-1].is_policy:
                self._hop(place, "let through", rules)
            if verdict := self._route(trace, chain_trace):
                return verdict
        return None

    def _translation(
        self, trace: PacketTrace, chain_trace: ChainTrace, place: str, rules: list[AppliedRule]
    ) -> None:
        before, after = chain_trace.packet, next_packet(trace, chain_trace)
        assert before is not None
        if after and after.receiver != before.receiver:
            self._hop(place, f"{before.receiver} becomes {after.receiver}", rules)
        elif after and after.sender != before.sender:
            self._hop(place, f"the sender {before.sender} becomes {after.sender}", rules)
        elif chain_trace.rules and "-j DNAT" in chain_trace.rules[-1].text:
            self._hop(place, f"a rule matches: {before.receiver} is translated", rules)
        elif chain_trace.chain in ("OUTPUT", "PREROUTING") and not self._is_proxied:
            self._hop(place, f"no rule matches: it stays {before.receiver}")

    def _route(self, trace: PacketTrace, chain_trace: ChainTrace) -> Verdict | None:
        """After the last table before routing: the device that the kernel chose."""
        if chain_trace.chain not in ("OUTPUT", "PREROUTING") or chain_trace.table != "nat":
            return None
        target = self.result.target
        rest = trace.chains[trace.chains.index(chain_trace) + 1 :]
        routed = next((each for each in rest if not each.table and each.leaves_by), None)
        if not routed or not routed.packet or routed.packet.destination != target.address:
            return None
        device = self.result.devices.get(routed.leaves_by, "?")
        if device != target.bridge:
            self._hop("routing", f"{target.address} is sent to {device}, not to {target.bridge}")
            return advice.not_routed(self.result)
        gateway = target.network["Gateway"]
        step = self.steps.of_link("add_address", device=device, address=gateway)
        self._hop("routing", f"{target.address} is behind {device}", step=step)
        return None

    def _devices(self) -> Verdict | None:
        result, target = self.result, self.result.target
        veth, interface = target.lease["Cable"], target.lease["Interface"]
        here = f"/proc/{target.pid}/ns/net"
        passed = (
            ("bridge", target.bridge, result.bridge, self._made("add_bridge", name=target.bridge)),
            ("veth", f"{veth}, a port of it", result.veth, self._made("add_veth", name=veth)),
            (
                "container",
                f"{interface}, {target.address}: the other end of the veth pair",
                result.inside,
                self._made("add_address", where=here, device=interface),
            ),
        )
        for place, text, captured, step in passed:
            if place == "bridge" and (self._is_switched() or self._is_between_ports()):
                text += ": from one port to the other, not up to the host (br_netfilter)"
            elif not _was_captured(captured, to=target.address):
                self._hop(place, f"{text}: not seen there")
                return advice.lost(result, place)
            self._hop(place, text, step=step)
        return None

    def _is_switched(self) -> bool:
        """Whether the bridge forwarded it from one of its ports to another.

        With br_netfilter, DNAT applies to bridged frames, so the bridge may forward a frame that
        the host's interface of the bridge does not see.
        """
        veth, address = self.result.veth, self.result.target.address
        return _was_captured(veth, to=address) and not _was_captured(self.result.bridge, to=address)

    def _is_between_ports(self) -> bool:
        """Whether the sender is on the same bridge and uses the container's own address."""
        target = self.result.target
        return target.is_direct and self.result.came_by == target.bridge

    def inside(self) -> Verdict | None:
        """The container's sockets: is one listening, and did it answer?"""
        result, target = self.result, self.result.target
        answer = _answer(result.inside, target.address)
        if how := self._refusal(answer):
            place = f"{target.address}:{target.container_port}"
            self._hop("program", f"none: {place} is refused ({how})")
            return advice.refused(result)
        fitting = (
            each
            for each in result.listeners
            if each.port == target.container_port and each.accepts(target.address)
        )
        listener = next(fitting, None)
        if answer is not None:
            self._hop("program", self._listening(listener))
            return None
        if target.protocol == "udp" and listener:
            self._hop("program", f"{_program(listener)} is bound to {listener.place}; no answer")
            return advice.datagram(result, listener)
        self._hop("program", "no answer")
        return advice.silent(result)

    def _refusal(self, answer: CapturedPacket | None) -> str:
        """How the container's kernel said that no socket is there: "RST", "ICMP"; "" if not."""
        if answer is not None:
            return "RST" if "RST" in answer.packet.flags else ""
        is_udp = self.result.target.protocol == "udp"
        return "ICMP" if is_udp and self.result.outcome == "ECONNREFUSED" else ""

    def _listening(self, listener: Listener | None) -> str:
        """The program that answered, as text."""
        if listener is None:
            return "a program listened, but has exited since"
        meaning = advice.any_address(self.result.target, listener) if listener.is_any else ""
        return f"{_program(listener)} listens on {listener.place}{meaning}"

    def follow_answer(self) -> Verdict:
        """Follow the answer; without one, `inside` has ended the walk already."""
        result, target = self.result, self.result.target
        answer = _answer(result.inside, target.address)
        assert answer is not None
        words = f"{answer.packet.flags} {answer.packet.sender} → {answer.packet.receiver}"
        self._is_back = True
        for place, captured in (("veth", result.veth), ("bridge", result.bridge)):
            # With br_netfilter the answer need not reach the host's interface of the bridge.
            switched = self._is_switched() or self._is_between_ports()
            by_the_firewall = place == "bridge" and (switched or result.answer)
            if _answer(captured, target.address) is None and not by_the_firewall:
                self._hop("answer", words)
                return advice.answer_lost(result, place)
        self._hop("answer", f"{words}, by veth and bridge")
        if result.answer and (verdict := self._follow_answer_firewall(result.answer)):
            return verdict
        if result.outcome != "connected":
            self._hop("socket", "no answer")
            return advice.answer_lost(result, "socket")
        done = "connected" if target.protocol == "tcp" else "answered"
        self._hop("socket", f"{done} after {elapsed(result.us)}")
        return advice.arrived(result, RELAYED if self._is_proxied else ANSWERED)

    def _follow_answer_firewall(self, trace: PacketTrace) -> Verdict | None:
        for chain_trace in trace.chains:
            if chain_trace.dropped_by:
                place = f"{chain_trace.table} {chain_trace.chain}"
                self._hop(place, "the answer is dropped", self._because(chain_trace.rules))
                return advice.dropped(self.result, chain_trace.dropped_by, answer=True)
            if chain_trace.chain == "FORWARD" and not chain_trace.rules[-1].is_policy:
                self._hop("filter FORWARD", "let through", self._because(chain_trace.rules))
        first, last = trace.first, trace.chains[-1].packet
        if first and last and (first.sender, first.receiver) != (last.sender, last.receiver):
            self._hop("tracking", f"translated back: {last.sender} → {last.receiver}")
        return None

    def _because(self, rules: list[Rule]) -> list[AppliedRule]:
        return [
            AppliedRule(
                r.table, r.text, None if r.is_policy else self.steps.of_rule(r.table, r.text)
            )
            for r in rules
        ]

    def _made(self, op: str, **arguments: str) -> Step | None:
        return self.steps.of_link(op, **arguments)

    def _hop(
        self,
        place: str,
        text: str,
        rules: list[AppliedRule] | None = None,
        *,
        step: Step | None = None,
    ) -> None:
        netns = CONTAINER if place in _INSIDE else HOST
        if place == "socket" and self.result.origin != HOST:
            netns = SENDER
        made = Hop(place, text, rules or [], step, netns=netns, is_back=self._is_back)
        self.hops.append(made)


def netns_of(hops: list[Hop]) -> set[str]:
    """The network namespaces in which a rule of iptables matched."""
    return {hop.netns for hop in hops if hop.rules}


def next_packet(trace: PacketTrace, chain_trace: ChainTrace) -> Packet | None:
    """The packet after a chain; None if no later hook saw it."""
    rest = trace.chains[trace.chains.index(chain_trace) + 1 :]
    return next((each.packet for each in rest if each.packet), None)


def _was_captured(captured: list[CapturedPacket], *, to: str) -> bool:
    return any(s.packet.destination == to and s.packet.opens_flow for s in captured)


def _answer(captured: list[CapturedPacket], address: str) -> CapturedPacket | None:
    """The container's first packet: SYN+ACK, RST, or a datagram."""
    ours = [s for s in captured if s.packet.source == address]
    return next((s for s in ours if s.packet.may_answer), None)


def _program(listener: Listener) -> str:
    name, _, pid = listener.process.partition(", ")
    return f"{name} ({pid})" if name else "a program"


def _address_text(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def elapsed(us: int) -> str:
    """A duration as text."""
    return f"{us} µs" if us < 1000 else f"{us / 1000:.1f} ms"
