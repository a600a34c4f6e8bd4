"""From where a probe starts, and how its packets are told from all others.

    host       a program of this machine: OUTPUT. Its socket carries a mark (SO_MARK)
    NAME       a program in a container: PREROUTING, by the container's own bridge
    outside    a machine next door: PREROUTING, FORWARD. It is played by a network namespace on a
               cable of its own, for as long as the probe takes

A mark does not leave its network namespace, so the last two are told by their four numbers. The
machine next door has no name and no process: its namespace is kept by a descriptor of this process
only, and goes with it, cable included.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from minidock.engine.container.lookup import find
from minidock.engine.network import ipam
from minidock.engine.network.device_settings import harden
from minidock.engine.network.endpoint import NetworkNamespace
from minidock.errors import Conflict, UsageError
from minidock.kernel import link, namespace, nftrace
from minidock.kernel.netlink import Netlink
from minidock.paths import Store
from minidock.teach.packet.target import Target

HOST, OUTSIDE = "host", "outside"
_SO_MARK = 36
_MARK = 0x6D640000  # "md", and 12 bits of this process's number
# The bits between are those by which other engines' rules know their packets: netavark and CNI
# masquerade what has 0x2000, Kubernetes what has 0x4000, and drops what has 0x8000.
_NUMBER = 0x0FFF
_RESET_ON_CLOSE = struct.pack("=ii", 1, 0)  # struct linger
_NEXT_DOOR = ipam.parse_subnet("198.18.0.0/30")  # RFC 2544: for tests between neighbours


@dataclass
class Origin:
    """Where a probe starts.

    name: "host", "outside", or a container's. socket: not connected yet, with its port chosen.
    asked: the address of this machine that it calls. source: its own address where it is known
    already. device: of the host, by which its packets come in; "" for the host's own.
    """

    name: str
    socket: socket.socket
    asked: str
    source: str
    device: str
    mark: int | None

    @property
    def port(self) -> int:
        return int(self.socket.getsockname()[1])

    @property
    def is_host(self) -> bool:
        return self.name == HOST

    def followed(self, host_port: int) -> nftrace.Followed:
        """What the firewall is asked to follow: this probe's packets, and no others."""
        if self.is_host:
            return nftrace.Followed("output", mark=self.mark, destination_port=host_port)
        return nftrace.Followed(
            "prerouting",
            source=socket.inet_aton(self.source),
            source_port=self.port,
            destination_port=host_port,
        )


def mark_of(pid: int) -> int:
    """The mark by which the probe that a process sends is told from all other packets."""
    return _MARK | pid & _NUMBER


@contextmanager
def origin(store: Store, name: str, target: Target) -> Iterator[Origin]:
    """A socket at the place where the probe is to start.

    Raises UsageError for a place from which this address cannot be called, NotFound, Conflict.
    """
    if name == HOST:
        with _socket(":" in target.asked, target.protocol) as made:
            mark = mark_of(os.getpid())
            made.setsockopt(socket.SOL_SOCKET, _SO_MARK, mark)
            yield Origin(HOST, made, target.asked, "", "", mark)
    elif name == OUTSIDE:
        with _next_door(target.protocol) as (there, here, device, made):
            asked = _from_afar(target, here)
            yield Origin(OUTSIDE, made, asked, there, device, None)
    else:
        container = find(store, name)
        address, gateway, device = _endpoint(store, container.id, container.name, target)
        with NetworkNamespace(int(container.state["Pid"])):
            made = _socket(False, target.protocol)
        with made:
            asked = target.asked if target.is_direct else _from_afar(target, gateway)
            yield Origin(container.name, made, asked, address, device, None)


def _socket(ipv6: bool, protocol: str) -> socket.socket:
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    made = socket.socket(socket.AF_INET6 if ipv6 else socket.AF_INET, kind)
    made.bind(("", 0))  # any address, but the port is known from here on
    made.setblocking(False)
    return made


def _from_afar(target: Target, own: str) -> str:
    """The address of this machine to call from elsewhere: where the port is published."""
    anywhere = target.host_ip == "0.0.0.0"
    if not (anywhere and target.asked.startswith("127.")):
        own = target.asked
    if own.startswith("127.") or ":" in own:
        raise UsageError(
            f"only this host itself can call {own} port {target.port}",
            hint=f"follow it from here: minidock packet {target.port}; a port for all who reach "
            f"this machine is published by `minidock run -p {target.port}:{target.container_port}`",
        )
    return own


def _endpoint(store: Store, wanted: str, name: str, target: Target) -> tuple[str, str, str]:
    from minidock.engine.network import network_json

    networks = [
        n
        for n in network_json.read_all(store)
        if wanted in n["Leases"] and "Cable" in n["Leases"][wanted]
    ]
    if not networks:
        raise Conflict(
            f"container {name} is on no bridge just now",
            hint="it has to run, on a network of its own or on the default one",
        )
    same = [network for network in networks if network["Name"] == target.network["Name"]]
    network = (same or networks)[0]
    return network["Leases"][wanted]["Address"], network["Gateway"], network["Device"]


@contextmanager
def _next_door(protocol: str) -> Iterator[tuple[str, str, str, socket.socket]]:
    """A network namespace on a cable; gives its address, ours, our device, and a socket in it."""
    here, there = ipam.address_text(_NEXT_DOOR.first + 1), ipam.address_text(_NEXT_DOOR.first + 2)
    device = f"mdpkt{os.getpid() % 10**9}"
    home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        with Netlink() as host:
            _require_free(host)
            namespace.unshare(["network"])
            try:
                away = Netlink()
                away_fd = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
                made = _socket(False, protocol)
            finally:
                namespace.setns(home, ["network"], place="")
            try:
                link.add_cable(host, device, peer="lan0", network=away_fd)
                harden(device)
                link.set_up(host, device)
                link.add_address(host, device, here, prefix=30)
                link.set_up(away, "lo")
                link.add_address(away, "lan0", there, prefix=30)
                link.set_up(away, "lan0")
                link.add_default_route(away, "lan0", here)
                yield there, here, device, made
            finally:
                # A reset: no answer to it comes to the next door when that is gone.
                if protocol == "tcp":
                    made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
                made.close()
                if link.find(host, device) is not None:
                    link.delete(host, device)
                away.close()
                os.close(away_fd)
    finally:
        os.close(home)


def _require_free(host: Netlink) -> None:
    taken = [(address, prefix) for _, address, prefix in link.every_address(host)]
    for address, prefix in [*taken, *link.every_route(host)]:
        if ipam.Subnet(ipam.parse_address(address), prefix).overlaps(_NEXT_DOOR):
            raise Conflict(
                f"{_NEXT_DOOR}, which a machine next door would get, is taken: {address}/{prefix}",
                hint="follow the packet from this host, or from a container: --from NAME",
            )
