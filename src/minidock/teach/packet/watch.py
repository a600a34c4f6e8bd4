"""Those who look at a probe: the firewall's trace, and a packet socket at each device on its way.

All of them look from before the probe is sent. `look` takes down what there is since, and then the
ways are known as far as they have been told: of the probe, of what the monitor's relay sends on for
it, and of the container's answer.
"""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack

from minidock.engine.network.endpoint import NetworkNamespace
from minidock.kernel import nftrace
from minidock.teach.packet import counters
from minidock.teach.packet.firewall_trace import Rules, Way, ways
from minidock.teach.packet.origin import Origin
from minidock.teach.packet.taps import Sighting, Tap
from minidock.teach.packet.target import Target

_TABLE = "minidock-packet"


class Watch:
    """What has been seen of one probe so far.

    rules: the firewall as it was before. probe, relay, answer: ways, None where there is none.
    bridge, cable, inside: what passed there of this connection. inner: ways through the firewall
    of the container's own network. is_dropped: whether some rule dropped one of these packets.
    """

    def __init__(self, stack: ExitStack, place: Origin, target: Target) -> None:
        self._place = place
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
        nftrace.follow(self._trace, _followed(place, target))
        self._events: list[nftrace.Event] = []
        self._passed: list[list[Sighting]] = [[] for _ in self._taps]
        self.probe: Way | None = None
        self.relay: Way | None = None
        self.answer: Way | None = None
        self._port = place.port

    def look(self) -> None:
        """Take down what there is since the last look."""
        self._events += self._trace.events()
        self._inner_events += self._inner_trace.events()
        for seen, tap in zip(self._passed, self._taps, strict=True):
            seen += tap.sightings()
        found = ways(self._events, self._trace.name, self.rules)
        self.probe = next((way for way in found if self._is_probe(way)), None)
        self.relay = next((way for way in found if self._is_relay(way)), None)
        self._port = self._port_at_the_container()
        self.answer = next((way for way in found if self._is_answer(way)), None)

    def finish(self) -> None:
        """The last look. Where there is no trace, the counters fill in what it would have told."""
        self.look()
        if self.rules.is_nft:
            return
        counted = counters.risen(self._before)
        there, back = f"-o {self._target.bridge}", f"-i {self._target.bridge}"
        self.probe = counters.filled(self.probe, counted, other_way=back)
        self.relay = counters.filled(self.relay, counted, other_way=back)
        self.answer = counters.filled(self.answer, counted, other_way=there)

    @property
    def inner(self) -> list[Way]:
        return ways(self._inner_events, self._inner_trace.name, self._inner_rules)

    @property
    def is_dropped(self) -> bool:
        events = [*self._events, *self._inner_events]
        return any(event.verdict == nftrace.DROP for event in events)

    @property
    def is_led_to_the_container(self) -> bool:
        """Whether the probe itself, and not the relay's connection, leaves for the container."""
        station = self.probe.at("postrouting") if self.probe else None
        return bool(
            station and station.packet and station.packet.destination == self._target.address
        )

    @property
    def is_answered(self) -> bool:
        """Whether the container has answered this connection, in its own network."""
        return any(seen.packet.source == self._target.address for seen in self.inside)

    @property
    def bridge(self) -> list[Sighting]:
        return self._of_this(self._passed[0])

    @property
    def cable(self) -> list[Sighting]:
        return self._of_this(self._passed[1])

    @property
    def inside(self) -> list[Sighting]:
        return self._of_this(self._passed[2])

    def _of_this(self, passed: list[Sighting]) -> list[Sighting]:
        ours = {self._port, self._target.container_port}
        return [s for s in passed if {s.packet.source_port, s.packet.destination_port} == ours]

    def _is_probe(self, way: Way) -> bool:
        first = way.first
        if first is None or not first.is_call:
            return False
        wanted = (self._place.port, self._target.port)
        return (first.source_port, first.destination_port) == wanted

    def _is_relay(self, way: Way) -> bool:
        """A connection of this host's to the container itself: its monitor's, for the probe."""
        first = way.first
        if first is None or not first.is_call or way.stations[0].chain != "output":
            return False
        wanted = (self._target.address, self._target.container_port)
        return (first.destination, first.destination_port) == wanted

    def _is_answer(self, way: Way) -> bool:
        first = way.first
        if first is None or not first.is_answer:
            return False
        return (first.source, first.destination_port) == (self._target.address, self._port)

    def _port_at_the_container(self) -> int:
        """The source port with which the connection comes to the container."""
        for way in (self.probe, self.relay):
            station = way.at("postrouting") if way else None
            packet = station.packet if station else None
            if packet and packet.destination == self._target.address:
                return packet.source_port
        return self._place.port


def _tap(stack: ExitStack, device: str) -> Tap:
    tap = Tap(device)
    stack.callback(tap.close)
    return tap


def _followed(place: Origin, target: Target) -> list[nftrace.Followed]:
    """The probe, what the monitor may send on for it, and the container's answers."""
    address, port = socket.inet_aton(target.address), target.container_port
    return [
        place.followed(target.port),
        nftrace.Followed("output", destination=address, destination_port=port),
        nftrace.Followed("prerouting", source=address, source_port=port),
    ]


def _followed_inside(target: Target) -> list[nftrace.Followed]:
    """What comes to the container's port, and what leaves it."""
    address, port = socket.inet_aton(target.address), target.container_port
    return [
        nftrace.Followed("prerouting", destination=address, destination_port=port),
        nftrace.Followed("output", source=address, source_port=port),
    ]
