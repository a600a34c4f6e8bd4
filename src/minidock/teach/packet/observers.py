"""The observers of a probe: netfilter traces, and a packet socket on each device of its path.

They start before the probe is sent. `collect` reads new events and updates the traces: of the
probe, of the userland proxy's connection to the container, and of the container's answer.
"""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack

from minidock.engine.network.veth_pair import NetworkNamespace
from minidock.kernel import nftrace
from minidock.teach.packet import counters
from minidock.teach.packet.firewall_trace import PacketTrace, Rules, packet_traces
from minidock.teach.packet.origin import Origin
from minidock.teach.packet.taps import CapturedPacket, Tap
from minidock.teach.packet.target import Target

_TABLE = "minidock-packet"


class Observers:
    """The observations of one probe so far.

    rules: the firewall before the probe. probe, proxy, answer: traces, or None. bridge, veth,
    inside: packets of this connection that were captured there. inner: traces through the firewall
    of the container's network namespace. is_dropped: whether a rule dropped one of these packets.
    """

    def __init__(self, stack: ExitStack, probe_origin: Origin, target: Target) -> None:
        self._origin = probe_origin
        self._target = target
        self._taps = [_tap(stack, target.bridge), _tap(stack, target.lease["Cable"])]
        with NetworkNamespace(target.pid):
            self._taps.append(_tap(stack, target.lease["Interface"]))
            self._inner_rules = Rules()
            self._inner_trace = stack.enter_context(nftrace.Trace(f"{_TABLE}-{os.getpid()}"))
            nftrace.follow(self._inner_trace, _followed_inside(target))
        self._inner_events: list[nftrace.Event] = []
        self.rules = Rules()
        self._before = counters.read(self.rules)
        self._trace = stack.enter_context(nftrace.Trace(f"{_TABLE}-{os.getpid()}"))
        nftrace.follow(self._trace, _followed(probe_origin, target))
        self._events: list[nftrace.Event] = []
        self._passed: list[list[CapturedPacket]] = [[] for _ in self._taps]
        self.probe: PacketTrace | None = None
        self.proxy: PacketTrace | None = None
        self.answer: PacketTrace | None = None
        self._port = probe_origin.port

    def collect(self) -> None:
        """Read the events since the last call."""
        self._events += self._trace.events()
        self._inner_events += self._inner_trace.events()
        for seen, tap in zip(self._passed, self._taps, strict=True):
            seen += tap.captured()
        found = packet_traces(self._events, self._trace.name, self.rules)
        self.probe = next((trace for trace in found if self._is_probe(trace)), None)
        self.proxy = next((trace for trace in found if self._is_proxy(trace)), None)
        self._port = self._translated_port()
        self.answer = next((trace for trace in found if self._is_answer(trace)), None)

    def finish(self) -> None:
        """Collect for the last time. Without a trace, fill in the rules from counters."""
        self.collect()
        if self.rules.is_nft:
            return
        counted = counters.count_risen(self._before)
        there, back = f"-o {self._target.bridge}", f"-i {self._target.bridge}"
        self.probe = counters.add_counted_rules(self.probe, counted, other_way=back)
        self.proxy = counters.add_counted_rules(self.proxy, counted, other_way=back)
        self.answer = counters.add_counted_rules(self.answer, counted, other_way=there)

    @property
    def inner(self) -> list[PacketTrace]:
        return packet_traces(self._inner_events, self._inner_trace.name, self._inner_rules)

    @property
    def is_dropped(self) -> bool:
        events = [*self._events, *self._inner_events]
        return any(event.verdict == nftrace.DROP for event in events)

    @property
    def reaches_container(self) -> bool:
        """Whether the probe itself is sent to the container, and not by the userland proxy."""
        chain_trace = self.probe.at("postrouting") if self.probe else None
        return bool(
            chain_trace
            and chain_trace.packet
            and chain_trace.packet.destination == self._target.address
        )

    @property
    def is_answered(self) -> bool:
        """Whether a packet from the container was captured on its own device."""
        return any(seen.packet.source == self._target.address for seen in self.inside)

    @property
    def bridge(self) -> list[CapturedPacket]:
        return self._of_this(self._passed[0])

    @property
    def veth(self) -> list[CapturedPacket]:
        return self._of_this(self._passed[1])

    @property
    def inside(self) -> list[CapturedPacket]:
        return self._of_this(self._passed[2])

    def _of_this(self, passed: list[CapturedPacket]) -> list[CapturedPacket]:
        ours = {self._port, self._target.container_port}
        return [s for s in passed if {s.packet.source_port, s.packet.destination_port} == ours]

    def _is_probe(self, trace: PacketTrace) -> bool:
        first = trace.first
        if first is None or not first.opens_flow:
            return False
        wanted = (self._origin.port, self._target.port)
        return (first.source_port, first.destination_port) == wanted

    def _is_proxy(self, trace: PacketTrace) -> bool:
        """Whether it is a connection from this host to the container: the userland proxy's."""
        first = trace.first
        if first is None or not first.opens_flow or trace.chains[0].chain != "output":
            return False
        wanted = (self._target.address, self._target.container_port)
        return (first.destination, first.destination_port) == wanted

    def _is_answer(self, trace: PacketTrace) -> bool:
        first = trace.first
        if first is None or not first.may_answer:
            return False
        return (first.source, first.destination_port) == (self._target.address, self._port)

    def _translated_port(self) -> int:
        """The source port of the connection after translation."""
        for trace in (self.probe, self.proxy):
            chain_trace = trace.at("postrouting") if trace else None
            packet = chain_trace.packet if chain_trace else None
            if packet and packet.destination == self._target.address:
                return packet.source_port
        return self._origin.port


def _tap(stack: ExitStack, device: str) -> Tap:
    tap = Tap(device)
    stack.callback(tap.close)
    return tap


def _followed(probe_origin: Origin, target: Target) -> list[nftrace.Followed]:
    """Filters for the probe, the userland proxy's connection and the container's answers."""
    address, port = socket.inet_aton(target.address), target.container_port
    return [
        probe_origin.followed(target.port),
        nftrace.Followed("output", destination=address, destination_port=port),
        nftrace.Followed("prerouting", source=address, source_port=port),
    ]


def _followed_inside(target: Target) -> list[nftrace.Followed]:
    """Filters for packets to and from the container's port."""
    address, port = socket.inet_aton(target.address), target.container_port
    return [
        nftrace.Followed("prerouting", destination=address, destination_port=port),
        nftrace.Followed("output", source=address, source_port=port),
    ]
