"""Where a probe starts, and how to recognise its packets.

    host       a process of this host: OUTPUT. Its socket has a mark (SO_MARK)
    NAME       a process in a container: PREROUTING, on the container's bridge
    outside    another machine: PREROUTING, FORWARD. It is simulated by a network namespace with a
               veth pair of its own, for the duration of the probe

A mark does not leave its network namespace, so the last two are matched by their 4-tuple. The
simulated machine has no name and no process: only a descriptor of this process holds its network
namespace, so the kernel removes it and its veth pair when the process exits.
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
from minidock.engine.network.veth_pair import NetworkNamespace
from minidock.errors import Conflict, UsageError
from minidock.kernel import link, namespace, nftrace
from minidock.kernel.netlink import Netlink
from minidock.paths import Store
from minidock.teach.packet.target import Target

HOST, OUTSIDE = "host", "outside"
_SO_MARK = 36
_MARK = 0x6D640000  # "md", and 12 bits of this process's pid
# Other engines use the bits between: netavark and CNI masquerade packets marked 0x2000, Kubernetes
# masquerades 0x4000 and drops 0x8000.
_NUMBER = 0x0FFF
_RESET_ON_CLOSE = struct.pack("=ii", 1, 0)  # struct linger
_TEST_SUBNET = ipam.parse_subnet("198.18.0.0/30")  # RFC 2544: reserved for tests of network devices


@dataclass
class Origin:
    """Where a probe starts.

    name: "host", "outside", or a container's. socket: bound to a port, not connected yet.
    destination: the address of this host to connect to. source: its own address if known already.
    device: the host's device on which its packets arrive; "" for the host itself.
    """

    name: str
    socket: socket.socket
    destination: str
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
        """The filter for the trace: this probe's packets only."""
        if self.is_host:
            return nftrace.Followed("output", mark=self.mark, destination_port=host_port)
        return nftrace.Followed(
            "prerouting",
            source=socket.inet_aton(self.source),
            source_port=self.port,
            destination_port=host_port,
        )


def mark_of(pid: int) -> int:
    """The mark of the probe that a process sends."""
    return _MARK | pid & _NUMBER


@contextmanager
def origin(store: Store, name: str, target: Target) -> Iterator[Origin]:
    """Open a socket where the probe starts.

    Raises UsageError if the address cannot be reached from there, NotFound, Conflict.
    """
    if name == HOST:
        with _socket(":" in target.destination, target.protocol) as made:
            mark = mark_of(os.getpid())
            made.setsockopt(socket.SOL_SOCKET, _SO_MARK, mark)
            yield Origin(HOST, made, target.destination, "", "", mark)
    elif name == OUTSIDE:
        with _external_host(target.protocol) as (there, here, device, made):
            destination = _external_address(target, here)
            yield Origin(OUTSIDE, made, destination, there, device, None)
    else:
        container = find(store, name)
        address, gateway, device = _endpoint(store, container.id, container.name, target)
        with NetworkNamespace(int(container.state["Pid"])):
            made = _socket(False, target.protocol)
        with made:
            destination = (
                target.destination if target.is_direct else _external_address(target, gateway)
            )
            yield Origin(container.name, made, destination, address, device, None)


def _socket(ipv6: bool, protocol: str) -> socket.socket:
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    made = socket.socket(socket.AF_INET6 if ipv6 else socket.AF_INET, kind)
    made.bind(("", 0))  # chooses the port now
    made.setblocking(False)
    return made


def _external_address(target: Target, own: str) -> str:
    """The address of this host at which another machine reaches the published port."""
    anywhere = target.host_ip == "0.0.0.0"
    if not (anywhere and target.destination.startswith("127.")):
        own = target.destination
    if own.startswith("127.") or ":" in own:
        raise UsageError(
            f"only this host itself can connect to {own} port {target.port}",
            hint=f"trace it from here: minidock packet {target.port}; to publish a port for other "
            f"machines: minidock run -p {target.port}:{target.container_port}",
        )
    return own


def _endpoint(store: Store, container_id: str, name: str, target: Target) -> tuple[str, str, str]:
    from minidock.engine.network import network_json

    networks = [
        n
        for n in network_json.read_all(store)
        if container_id in n["Leases"] and "Cable" in n["Leases"][container_id]
    ]
    if not networks:
        raise Conflict(
            f"container {name} is not attached to a bridge",
            hint="it must run, on a user-defined network or the default one",
        )
    same = [network for network in networks if network["Name"] == target.network["Name"]]
    network = (same or networks)[0]
    return network["Leases"][container_id]["Address"], network["Gateway"], network["Device"]


@contextmanager
def _external_host(protocol: str) -> Iterator[tuple[str, str, str, socket.socket]]:
    """Simulate another machine; yields its address, ours, our device, and a socket in it."""
    here, there = (
        ipam.address_text(_TEST_SUBNET.first + 1),
        ipam.address_text(_TEST_SUBNET.first + 2),
    )
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
                link.add_veth_pair(host, device, peer="lan0", network=away_fd)
                harden(device)
                link.set_up(host, device)
                link.add_address(host, device, here, prefix=30)
                link.set_up(away, "lo")
                link.add_address(away, "lan0", there, prefix=30)
                link.set_up(away, "lan0")
                link.add_default_route(away, "lan0", here)
                yield there, here, device, made
            finally:
                # Close with RST, so that no answer comes after the namespace is gone.
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
    taken = [(address, prefix) for _, address, prefix in link.list_addresses(host)]
    for address, prefix in [*taken, *link.list_routes(host)]:
        if ipam.Subnet(ipam.parse_address(address), prefix).overlaps(_TEST_SUBNET):
            raise Conflict(
                f"{_TEST_SUBNET}, the simulated machine's subnet, is in use: {address}/{prefix}",
                hint="trace the packet from this host, or from a container: --from NAME",
            )
