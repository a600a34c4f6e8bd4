"""Send one real probe, a TCP connection that says nothing, and gather all that was seen of it.

The order matters: first those who look (the firewall's trace, a packet socket at each device), then
the probe, and while its connection still stands, who has it.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import time
from contextlib import ExitStack
from dataclasses import dataclass, field

from minidock.engine.network.endpoint import Visit
from minidock.kernel import nftrace, sysctl
from minidock.paths import Store
from minidock.teach.packet import counters
from minidock.teach.packet.listeners import Listener, holder, listeners, name_of
from minidock.teach.packet.origin import HOST, Origin, origin
from minidock.teach.packet.taps import Sighting, Tap
from minidock.teach.packet.target import Target
from minidock.teach.packet.ways import Packet, Rules, Way, ways

_TABLE = "minidock-packet"
_LOOK_MILLISECONDS, _SILENCE = 50, -1
_SETTLING_SECONDS = 0.02  # for what is on its way still


@dataclass
class Seen:
    """All that was seen of one probe.

    outcome: "connected", "timeout", or the errno's name. us: until then, in microseconds.
    probe, answer, relay: ways through the host's firewall; None where there was none. relay is the
    connection that the monitor made to the container. bridge, cable, inside: what passed there of
    this connection. holder: who answered on the host itself, (pid, name), (0, "") where the packet
    did not stay there. rules: the firewall as it was. counted: rules whose counters rose, where no
    trace is to be had.
    """

    target: Target
    origin: str
    source: str
    source_port: int
    asked: str
    mark: int | None
    outcome: str
    us: int
    probe: Way | None
    answer: Way | None
    relay: Way | None
    bridge: list[Sighting]
    cable: list[Sighting]
    inside: list[Sighting]
    holder: tuple[int, str]
    monitor: int
    listeners: list[Listener]
    saved: str
    is_traced: bool
    counted: list[counters.Counted] = field(default_factory=list)
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def translated(self) -> Packet | None:
        """The probe as it leaves for the container, if it did."""
        station = self.probe.at("postrouting") if self.probe else None
        return station.packet if station else None


def send(store: Store, target: Target, *, start: str = HOST, seconds: float = 2.0) -> Seen:
    """Follow one probe to a published port.

    start: "host", "outside" or a container's name. seconds: how long an answer may take.
    """
    with ExitStack() as stack:
        place = stack.enter_context(origin(store, start, target))
        taps = [stack.enter_context(_closing(tap)) for tap in _taps(target)]
        rules = Rules()
        before = counters.read(rules)
        trace = stack.enter_context(nftrace.Trace(f"{_TABLE}-{os.getpid()}"))
        nftrace.follow(trace, _followed(place, target))
        outcome, us, events = _connect(place, target.port, seconds, trace)
        source = _source(place)
        held_by = _holder(place, source, target) if outcome == "connected" else 0
        waits = outcome == "connected" and held_by in (0, target.container.monitor_pid)
        sightings = _look(taps, target, seconds if waits else _SETTLING_SECONDS)
        events += trace.events()
        found = ways(events, trace.name, rules)
        probe = next((w for w in found if _is_probe(w, place, target)), None)
        relay = next((w for w in found if _is_relay(w, place, target)), None)
        port = _port_at_the_container(probe, relay, target) or place.port
        answer = next((w for w in found if _is_answer(w, port, target)), None)
        counted = [] if rules.is_nft else counters.risen(before)
        if not rules.is_nft:
            there, back = f"-i {target.bridge}", f"-o {target.bridge}"
            probe = counters.filled(probe, counted, other_way=there)
            relay = counters.filled(relay, counted, other_way=there)
            answer = counters.filled(answer, counted, other_way=back)
        bridge, cable, inside = ([s for s in seen if _is_of(s, port, target)] for seen in sightings)
        return Seen(
            target=target,
            origin=place.name,
            source=source,
            source_port=place.port,
            asked=place.asked,
            mark=place.mark,
            outcome=outcome,
            us=us,
            probe=probe,
            answer=answer,
            relay=relay,
            bridge=bridge,
            cable=cable,
            inside=inside,
            holder=(held_by, name_of(held_by)) if held_by else (0, ""),
            monitor=target.container.monitor_pid,
            listeners=listeners(target.pid),
            saved=rules.saved,
            is_traced=rules.is_nft,
            counted=counted,
            settings=_settings(target),
        )


class _closing:
    """A tap that is closed at the end of a block."""

    def __init__(self, tap: Tap) -> None:
        self._tap = tap

    def __enter__(self) -> Tap:
        return self._tap

    def __exit__(self, *exception: object) -> None:
        self._tap.close()


def _taps(target: Target) -> list[Tap]:
    """Packet sockets at the bridge, at the cable's end there, and at its end in the container."""
    found = [Tap(target.bridge), Tap(target.lease["Cable"])]
    with Visit(target.pid):
        return [*found, Tap(target.lease["Interface"])]


def _look(taps: list[Tap], target: Target, seconds: float) -> list[list[Sighting]]:
    """What passed each device, until the container has answered; the relay calls it later."""
    deadline = time.monotonic() + seconds
    passed: list[list[Sighting]] = [[] for _ in taps]
    while True:
        for seen, tap in zip(passed, taps, strict=True):
            seen += tap.sightings()
        if any(s.packet.source == target.address for s in passed[-1]):
            time.sleep(_SETTLING_SECONDS)
            return [[*seen, *tap.sightings()] for seen, tap in zip(passed, taps, strict=True)]
        if time.monotonic() > deadline:
            return passed
        time.sleep(0.005)


def _followed(place: Origin, target: Target) -> list[nftrace.Followed]:
    """The probe, what the monitor may send on for it, and the container's answers."""
    address, port = socket.inet_aton(target.address), target.container_port
    return [
        place.followed(target.port),
        nftrace.Followed("output", destination=address, destination_port=port),
        nftrace.Followed("prerouting", source=address, source_port=port),
    ]


def _connect(
    place: Origin, port: int, seconds: float, trace: nftrace.Trace
) -> tuple[str, int, list[nftrace.Event]]:
    """What the socket's owner is told, after how many microseconds, and what the trace told so far.

    Once the firewall has dropped it, there is nothing to wait for but a second try, for a moment.
    """
    started = time.monotonic_ns()
    number = place.socket.connect_ex((place.asked, port))
    events: list[nftrace.Event] = []
    if number == errno.EINPROGRESS:
        poll = select.poll()
        poll.register(place.socket, select.POLLOUT)
        deadline = time.monotonic() + seconds
        number = _SILENCE
        while number == _SILENCE and time.monotonic() < deadline:
            if poll.poll(_LOOK_MILLISECONDS):
                number = place.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            events += trace.events()
            if number == _SILENCE and any(each.verdict == nftrace.DROP for each in events):
                break
    us = (time.monotonic_ns() - started) // 1000
    if number == _SILENCE:
        return "timeout", us, events
    return ("connected" if number == 0 else errno.errorcode[number]), us, events


def _source(place: Origin) -> str:
    """The address that the kernel chose for the probe, "" where it found none."""
    address = str(place.socket.getsockname()[0])
    return place.source or ("" if address in ("0.0.0.0", "::") else address)


def _holder(place: Origin, source: str, target: Target) -> int:
    """Who on this host has the other end of the connection; 0 where it is not on this host."""
    return holder((place.asked, target.port), (source, place.port))


def _is_probe(way: Way, place: Origin, target: Target) -> bool:
    first = way.first
    if first is None or first.flags != "SYN":
        return False
    return first.source_port == place.port and first.destination_port == target.port


def _is_relay(way: Way, place: Origin, target: Target) -> bool:
    """A connection of this host's own to the container: its monitor's, on behalf of the probe."""
    first = way.first
    if first is None or first.flags != "SYN" or way.stations[0].chain != "output":
        return False
    return (first.destination, first.destination_port) == (target.address, target.container_port)


def _port_at_the_container(probe: Way | None, relay: Way | None, target: Target) -> int:
    """The source port with which the connection comes to the container; 0 where it is not known."""
    for way in (probe, relay):
        station = way.at("postrouting") if way else None
        packet = station.packet if station else None
        if packet and packet.destination == target.address:
            return packet.source_port
    return 0


def _is_answer(way: Way, port: int, target: Target) -> bool:
    first = way.first
    if first is None or first.destination_port != port:
        return False
    return first.source == target.address and first.flags in ("SYN+ACK", "RST+ACK", "ACK+RST")


def _is_of(seen: Sighting, port: int, target: Target) -> bool:
    packet, there = seen.packet, target.container_port
    return (packet.source_port, packet.destination_port) in ((port, there), (there, port))


def _settings(target: Target) -> dict[str, str]:
    names = ("net/ipv4/ip_forward", f"net/ipv4/conf/{target.bridge}/route_localnet")
    return {name: sysctl.read(name) or "" for name in names}
