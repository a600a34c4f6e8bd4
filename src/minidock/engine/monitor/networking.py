"""Network sandbox: a container's networks, joined at its launch and changed while it runs.

    hold_ports     the host's ports, before anything is made: a second server shall not get them
    reserve        an address on each of its networks
    connect        a cable into each; the way out, the published ports, the server of its names
    move           of `network connect` and `disconnect`, what the monitor holds: ports, and the
                   sockets of its names
    join, leave    the rest, which waits: for locks, for the disk, for iptables-restore. A child of
                   the monitor does it, with the sockets that the monitor holds (network_change.py)

Of several networks one is the way out: the first by name that is not internal (as in Docker). There
leads the default route, and there the published ports arrive; when it changes, both move.

Source: Docker Engine API 1.45 NetworkConnect; what dockerd 26.1 does.
"""

from __future__ import annotations

from minidock.engine.container.endpoints import (
    address_asked,
    asked_for,
    connected,
    has_names,
    joined,
    names_on,
)
from minidock.engine.network import networks, ports
from minidock.engine.network.endpoint import DEFAULT
from minidock.engine.network.network_mode import parse_network_mode as mode_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from minidock.engine.container.containers import Container
    from minidock.engine.network.dns.sockets import DnsSockets

_TOP = ("IPAddress", "IPPrefixLen", "Gateway", "MacAddress", "EndpointID")


class NetworkSandbox:
    """One run's connections to its networks.

    kind: "bridge", "host", "none" or "container". ports: the host's ports, held as long as they
    lead anywhere. gateway_network: the one that has its default route, "" for none. dns_sockets:
    where its questions for names arrive; None on networks without names.
    """

    def __init__(self, container: Container) -> None:
        self._container = container
        self._store = container.store
        self._pid = 0
        self._interfaces = 0
        mode = mode_of(container.host_config.get("NetworkMode") or "")
        self.kind = mode.kind
        if self.kind == "bridge" and not self._endpoints:  # it was taken off all of them
            self._endpoints[mode.target] = asked_for(None)
        self.ports: list[ports.PublishedPort] = []
        self.dns_sockets: DnsSockets | None = None
        joined_now = joined(container.document)
        self.gateway_network = (
            self.select_gateway_network(joined_now) if self.kind == "bridge" else ""
        )

    @property
    def address(self) -> str:
        """The container's address on the network that leads outside."""
        return (
            str(self._endpoints[self.gateway_network]["IPAddress"]) if self.gateway_network else ""
        )

    def hold_ports(self) -> None:
        """Take the host's ports that are to be published; none where nothing can lead to them."""
        wanted = wanted_ports(self._container, self.gateway_network)
        if self.gateway_network:
            self.ports = ports.bind(wanted, store=self._store)

    def reserve(self) -> list[str]:
        """An address on each of its networks, which nobody else gets until it is released."""
        if self.kind != "bridge":
            return []
        return [self._reserve(name) for name in self._networks_in_order()]

    def connect(self, pid: int) -> None:
        """Give the container's network namespace its end of a cable to each of its networks."""
        self._pid = pid
        settings = self._container.document["NetworkSettings"]
        if self.kind == "bridge":
            for name in self._networks_in_order():
                self._connect(name, is_gateway=name == self.gateway_network)
            self._record_ports()
            self._open_dns_sockets()
        elif self.kind == "none":
            networks.set_loopback_up(pid)
        if self.kind in ("host", "none"):
            settings["Networks"] = {
                self.kind: networks.endpoint_without_device(self._store, self.kind)
            }
        settings["SandboxKey"] = f"/proc/{pid}/ns/net"

    def select_gateway_network(self, joined: Sequence[str]) -> str:
        """Which of these networks would lead it outside; "" for none."""
        return networks.gateway_network(self._store, joined)

    def move(self, joined: Sequence[str]) -> None:
        """Hold what a container on these networks holds: ports at another way out, names' sockets.

        Raises Conflict where a port is taken, KernelError.
        """
        before, self.gateway_network = self.gateway_network, self.select_gateway_network(joined)
        ends = (before, self.gateway_network)
        addresses = {networks.binding_address(self._store, name) for name in ends}
        if not self.gateway_network or len(addresses) > 1:
            self.let_go()
        if self.gateway_network and not self.ports:
            self.hold_ports()
        if self.dns_sockets is None and any(name != DEFAULT for name in joined):
            from minidock.engine.network.dns.sockets import open_sockets  # few containers need it

            self.dns_sockets = open_sockets(self._pid, redirect=False)

    def join(self, name: str, asked: dict[str, Any], *, before: str) -> str:
        """Connect the running container to one more network, after `move`; returns its address.

        before: its way out until then. Raises what keeps it from that; `leave` undoes it, then.
        """
        self._endpoints[name] = asked_for(asked)
        networks.leave(self._store, self._container.id, name)  # an attempt that was cut short
        address = self._reserve(name)
        self._connect(name, is_gateway=False)
        self._move_gateway(before)
        return address

    def leave(self, name: str, *, before: str) -> str:
        """Disconnect it from a network, after `move`; returns the address that it had there.

        before: its way out until then.
        """
        self._endpoints.pop(name, None)
        address = networks.leased_address(self._store, self._container.id, name)
        if name == DEFAULT:
            self._container.document["NetworkSettings"].update(
                dict.fromkeys(_TOP, ""), IPPrefixLen=0
            )
        self._move_gateway(before, lost=name)
        networks.leave(self._store, self._container.id, name)
        return address

    def count_interface(self) -> None:
        """A child has given the container one: the next one has another name."""
        self._interfaces += 1

    def let_go(self) -> None:
        """Close what is held, at the end of a run: others may have its ports until the next."""
        for port in self.ports:
            port.close()
        self.ports = []

    def close_dns_sockets(self) -> None:
        """Close the sockets that are in the container's network: while they are open, it is kept,
        and its cables with it."""
        if self.dns_sockets is not None:
            self.dns_sockets.close()
            self.dns_sockets = None

    @property
    def _endpoints(self) -> dict[str, Any]:
        return self._container.document["NetworkSettings"]["Networks"]  # type: ignore[no-any-return]

    def _networks_in_order(self) -> list[str]:
        return networks.join_order(self._store, joined(self._container.document))

    def _reserve(self, name: str) -> str:
        address = address_asked(self._container.document, name)
        return networks.reserve(self._store, self._container.id, network=name, address=address)

    def _connect(self, name: str, *, is_gateway: bool) -> None:
        document = self._container.document
        first = name == document["HostConfig"]["NetworkMode"]
        endpoint = networks.connect(
            self._store,
            self._container.id,
            netns_pid=self._pid,
            network=name,
            mac=(document["Config"].get("MacAddress") or None) if first else None,
            publish=ports.firewall_bindings(self.ports) if is_gateway else (),
            interface=f"eth{self._interfaces}",
            dns_names=names_on(document, name),
            is_gateway=is_gateway,
        )
        self._interfaces += 1
        self._endpoints[name] = connected(self._endpoints.get(name) or {}, endpoint)
        if name == DEFAULT:
            document["NetworkSettings"].update({key: endpoint[key] for key in _TOP})

    def _move_gateway(self, before: str, *, lost: str = "") -> None:
        """Let the default route and the ports follow, where another network is the way out now.

        before: the last way out. lost: the network that is about to be left; its cable takes its
        route along.
        """
        now = self.gateway_network
        if before == now:
            return
        if before and before != lost and self.ports:
            networks.publish(self._store, self._container.id, network=before, bindings=[])
        networks.set_gateway(self._store, self._container.id, netns_pid=self._pid, network=now)
        if self.ports:
            networks.publish(
                self._store,
                self._container.id,
                network=now,
                bindings=ports.firewall_bindings(self.ports),
            )
        self._record_ports()

    def _record_ports(self) -> None:
        exposed = (
            list(self._container.config.get("ExposedPorts") or {}) if self.gateway_network else []
        )
        shown = ports.port_map(self.ports, exposed)
        self._container.document["NetworkSettings"]["Ports"] = shown

    def _open_dns_sockets(self) -> None:
        if self.dns_sockets is None and has_names(self._container.document):
            from minidock.engine.network.dns.sockets import open_sockets  # few containers need it

            self.dns_sockets = open_sockets(self._pid)


def wanted_ports(container: Container, gateway_network: str) -> list[dict[str, Any]]:
    """The ports that the container publishes, as `ports.bind` takes them.

    gateway_network: the one that has its default route, whose host address is bound where the
    container asks for none; "" where nothing can lead to it, and none is bound. Raises UsageError
    for what is no port, protocol or address.
    """
    host, config = container.host_config, container.config
    wanted = ports.parse_bindings(
        host.get("PortBindings") or {},
        list(config.get("ExposedPorts") or {}),
        publish_all=bool(host.get("PublishAllPorts")),
    )
    if not gateway_network:
        return []
    address = networks.binding_address(container.store, gateway_network)
    return [{**each, "HostIp": each["HostIp"] or address} for each in wanted]
