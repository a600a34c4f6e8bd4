"""Send one real probe, a TCP connection that says nothing, and gather all that was seen of it.

The order matters: first those who look (the firewall's trace, a packet socket at each device), then
the probe, and while its connection still stands, who has it.
"""

from __future__ import annotations

import errno
import select
import socket
import time
from contextlib import ExitStack
from dataclasses import dataclass

from minidock.kernel import link, sysctl
from minidock.kernel.netlink import Netlink
from minidock.paths import Store
from minidock.teach.packet.facts import Counters, Facts, look
from minidock.teach.packet.firewall_trace import Packet, Way
from minidock.teach.packet.listeners import Listener, holder, listeners, name_of
from minidock.teach.packet.origin import HOST, Origin, origin
from minidock.teach.packet.taps import Sighting
from minidock.teach.packet.target import Target
from minidock.teach.packet.watch import Watch

_LOOK_MILLISECONDS, _SILENCE = 50, -1
_SETTLING_SECONDS = 0.02  # for what is on its way still


@dataclass
class Seen:
    """All that was seen of one probe.

    outcome: "connected", "timeout", or the errno's name. us: until then, in microseconds.
    probe, answer, relay: ways through the host's firewall; None where there was none. relay is the
    connection that the monitor made to the container. bridge, cable, inside: what passed there of
    this connection. holder: who answered on the host itself, (pid, name), (0, "") where the packet
    did not stay there. saved: the firewall's rules, as iptables-save printed them. is_traced:
    whether the rules on these ways are the kernel's own account, and not guessed from counters.
    settings: of the kernel, that have a say in it. devices: their names by their indexes. inner:
    ways through the firewall of the container's own network. came_by: the device by which the probe
    came to this host, "" where it began here. facts: what the machine is like.
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
    listeners: list[Listener]
    saved: str
    is_traced: bool
    settings: dict[str, str]
    devices: dict[int, str]
    inner: list[Way]
    came_by: str
    facts: Facts

    @property
    def arrived_as(self) -> str:
        """The sender, as the container sees it."""
        return arrived_as(self.inside, self.target) or self.source

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
        watch = Watch(stack, place, target)
        rose = Counters(target)
        outcome, us = _connect(place, target, seconds, watch)
        watch.look()
        source = _source(place)
        held_by = 0
        is_tcp = target.protocol == "tcp"
        if is_tcp and outcome == "connected" and not watch.is_led_to_the_container:
            held_by = holder((place.asked, target.port), (source, place.port))
        if held_by == target.container.monitor_pid:
            _await_answer(watch, seconds)
        time.sleep(_SETTLING_SECONDS)
        watch.finish()
        facts = look(
            target,
            source=source or place.asked,
            arrived_as=arrived_as(watch.inside, target) or source or place.asked,
            came_by=place.device,
            mark=place.mark,
            rose=rose,
        )
        return Seen(
            target=target,
            origin=place.name,
            source=source,
            source_port=place.port,
            asked=place.asked,
            mark=place.mark,
            outcome=outcome,
            us=us,
            probe=watch.probe,
            answer=watch.answer,
            relay=watch.relay,
            bridge=watch.bridge,
            cable=watch.cable,
            inside=watch.inside,
            holder=(held_by, name_of(held_by)) if held_by else (0, ""),
            listeners=listeners(target.pid, target.protocol),
            saved=watch.rules.saved,
            is_traced=watch.rules.is_nft,
            settings=_settings(target),
            devices={each.index: each.name for each in _links()},
            inner=watch.inner,
            came_by=place.device,
            facts=facts,
        )


def arrived_as(inside: list[Sighting], target: Target) -> str:
    """The sender of a probe as it came to the container's device; "" where it did not."""
    came = (s.packet.source for s in inside if s.packet.destination == target.address)
    return next(came, "")


def _connect(place: Origin, target: Target, seconds: float, watch: Watch) -> tuple[str, int]:
    """What the socket's owner is told, and after how many microseconds.

    Once the firewall has dropped it, there is nothing to wait for but a second try. UDP sends an
    empty datagram, and waits for any answer, or for the refusal that a closed port sends (ICMP).
    """
    started = time.monotonic_ns()
    number = place.socket.connect_ex((place.asked, target.port))
    is_udp = target.protocol == "udp"
    if is_udp and number == 0:
        try:
            place.socket.send(b"")
            number = errno.EINPROGRESS
        except OSError as error:  # EPERM: a rule of OUTPUT drops it
            number = error.errno or errno.EPERM
    if number == errno.EINPROGRESS:
        poll = select.poll()
        poll.register(place.socket, select.POLLIN if is_udp else select.POLLOUT)
        deadline = time.monotonic() + seconds
        number = _SILENCE
        while number == _SILENCE and time.monotonic() < deadline and not watch.is_dropped:
            if poll.poll(_LOOK_MILLISECONDS):
                number = place.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            else:
                watch.look()
    us = (time.monotonic_ns() - started) // 1000
    if number == _SILENCE:
        return "timeout", us
    return ("connected" if number == 0 else errno.errorcode[number]), us


def _await_answer(watch: Watch, seconds: float) -> None:
    """The monitor takes a connection first, and calls the container then."""
    deadline = time.monotonic() + seconds
    while not watch.is_answered and time.monotonic() < deadline:
        time.sleep(_LOOK_MILLISECONDS / 10_000)
        watch.look()


def _source(place: Origin) -> str:
    """The address that the kernel chose for the probe, "" where it found none."""
    address = str(place.socket.getsockname()[0])
    return place.source or ("" if address in ("0.0.0.0", "::") else address)


def _settings(target: Target) -> dict[str, str]:
    names = ("net/ipv4/ip_forward", f"net/ipv4/conf/{target.bridge}/route_localnet")
    return {name: sysctl.read(name) or "" for name in names}


def _links() -> list[link.Link]:
    with Netlink() as host:
        return link.every(host)
