"""Send one real probe, a TCP connection without data or an empty datagram, and observe it.

The order matters: first the observers (netfilter traces, a packet socket on each device), then the
probe, and while it is connected, the search for the process that accepted it.
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
from minidock.teach.packet.facts import Counters, Facts, gather
from minidock.teach.packet.firewall_trace import Packet, PacketTrace
from minidock.teach.packet.listeners import Listener, connection_owner, listeners, name_of
from minidock.teach.packet.observers import Observers
from minidock.teach.packet.origin import HOST, Origin, origin
from minidock.teach.packet.taps import CapturedPacket
from minidock.teach.packet.target import Target

_POLL_MILLISECONDS, _TIMEOUT = 50, -1
_SETTLING_SECONDS = 0.02  # for packets still in flight


@dataclass
class ProbeResult:
    """All observations of one probe.

    outcome: "connected", "timeout", or the errno's name. us: its duration in microseconds.
    probe, answer, proxy: traces through the host's firewall, or None. proxy is the connection that
    the userland proxy made to the container. bridge, veth, inside: packets captured there.
    connection_owner: the process that accepted it on the host, (pid, name), or (0, "").
    saved: the output of iptables-save. is_traced: whether the rules come from the kernel's trace,
    and not from counters. settings: sysctls that matter. devices: index -> name. inner: traces
    through the firewall of the container's network namespace. came_by: the device on which the
    probe entered this host, "" if it started here. facts: the state of the network.
    """

    target: Target
    origin: str
    source: str
    source_port: int
    destination: str
    mark: int | None
    outcome: str
    us: int
    probe: PacketTrace | None
    answer: PacketTrace | None
    proxy: PacketTrace | None
    bridge: list[CapturedPacket]
    veth: list[CapturedPacket]
    inside: list[CapturedPacket]
    connection_owner: tuple[int, str]
    listeners: list[Listener]
    saved: str
    is_traced: bool
    settings: dict[str, str]
    devices: dict[int, str]
    inner: list[PacketTrace]
    came_by: str
    facts: Facts

    @property
    def arrived_as(self) -> str:
        """The source address, as the container sees it."""
        return arrived_as(self.inside, self.target) or self.source

    @property
    def translated(self) -> Packet | None:
        """The probe in postrouting, if it got there."""
        chain_trace = self.probe.at("postrouting") if self.probe else None
        return chain_trace.packet if chain_trace else None


def send(store: Store, target: Target, *, start: str = HOST, seconds: float = 2.0) -> ProbeResult:
    """Send one probe to a published port and observe it.

    start: "host", "outside" or a container's name. seconds: the timeout.
    """
    with ExitStack() as stack:
        probe_origin = stack.enter_context(origin(store, start, target))
        observers = Observers(stack, probe_origin, target)
        counters = Counters(target)
        outcome, us = _connect(probe_origin, target, seconds, observers)
        observers.collect()
        source = _source(probe_origin)
        is_accepted_here = outcome == "connected" and not observers.reaches_container
        held_by = _holder(probe_origin, target, source) if is_accepted_here else 0
        if held_by == target.container.monitor_pid:
            _wait_for_answer(observers, seconds)
        time.sleep(_SETTLING_SECONDS)
        observers.finish()
        return ProbeResult(
            facts=_facts(probe_origin, observers, target, source, counters),
            target=target,
            origin=probe_origin.name,
            source=source,
            source_port=probe_origin.port,
            destination=probe_origin.destination,
            mark=probe_origin.mark,
            outcome=outcome,
            us=us,
            probe=observers.probe,
            answer=observers.answer,
            proxy=observers.proxy,
            bridge=observers.bridge,
            veth=observers.veth,
            inside=observers.inside,
            connection_owner=(held_by, name_of(held_by)) if held_by else (0, ""),
            listeners=listeners(target.pid, target.protocol),
            saved=observers.rules.saved,
            is_traced=observers.rules.is_nft,
            settings=_settings(target),
            devices={each.index: each.name for each in _links()},
            inner=observers.inner,
            came_by=probe_origin.device,
        )


def _holder(probe_origin: Origin, target: Target, source: str) -> int:
    """The pid of the process on the host that accepted a TCP connection; 0 if none."""
    if target.protocol != "tcp":
        return 0
    return connection_owner((probe_origin.destination, target.port), (source, probe_origin.port))


def _facts(
    probe_origin: Origin, observers: Observers, target: Target, source: str, counters: Counters
) -> Facts:
    """The state of the network on the path of the probe that was sent."""
    sender = source or probe_origin.destination
    return gather(
        target,
        source=sender,
        arrived_as=arrived_as(observers.inside, target) or sender,
        came_by=probe_origin.device,
        mark=probe_origin.mark,
        counters=counters,
    )


def arrived_as(inside: list[CapturedPacket], target: Target) -> str:
    """The source address of a probe on the container's device; "" if it did not arrive."""
    came = (s.packet.source for s in inside if s.packet.destination == target.address)
    return next(came, "")


def _connect(
    probe_origin: Origin, target: Target, seconds: float, observers: Observers
) -> tuple[str, int]:
    """Connect, and return the outcome and its duration in microseconds.

    It stops waiting once a rule drops the packet. For UDP it sends an empty datagram, and waits for
    an answer or for the ICMP error of a closed port.
    """
    started = time.monotonic_ns()
    number = probe_origin.socket.connect_ex((probe_origin.destination, target.port))
    is_udp = target.protocol == "udp"
    if is_udp and number == 0:
        try:
            probe_origin.socket.send(b"")
            number = errno.EINPROGRESS
        except OSError as error:  # EPERM: a rule in OUTPUT drops it
            number = error.errno or errno.EPERM
    if number == errno.EINPROGRESS:
        poll = select.poll()
        poll.register(probe_origin.socket, select.POLLIN if is_udp else select.POLLOUT)
        deadline = time.monotonic() + seconds
        number = _TIMEOUT
        while number == _TIMEOUT and time.monotonic() < deadline and not observers.is_dropped:
            if poll.poll(_POLL_MILLISECONDS):
                number = probe_origin.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            else:
                observers.collect()
    us = (time.monotonic_ns() - started) // 1000
    if number == _TIMEOUT:
        return "timeout", us
    return ("connected" if number == 0 else errno.errorcode[number]), us


def _wait_for_answer(observers: Observers, seconds: float) -> None:
    """Wait until the proxy, which accepted the connection, has connected to the container."""
    deadline = time.monotonic() + seconds
    while not observers.is_answered and time.monotonic() < deadline:
        time.sleep(_POLL_MILLISECONDS / 10_000)
        observers.collect()


def _source(probe_origin: Origin) -> str:
    """The source address that the kernel chose for the probe, "" if it found none."""
    address = str(probe_origin.socket.getsockname()[0])
    return probe_origin.source or ("" if address in ("0.0.0.0", "::") else address)


def _settings(target: Target) -> dict[str, str]:
    names = ("net/ipv4/ip_forward", f"net/ipv4/conf/{target.bridge}/route_localnet")
    return {name: sysctl.read(name) or "" for name in names}


def _links() -> list[link.Link]:
    with Netlink() as host:
        return link.list_links(host)
