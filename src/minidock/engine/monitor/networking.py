"""Network sandbox: a container's networks, joined at its launch and changed while it runs.

    hold_ports     bind the published ports first, so that no other process gets them
    reserve        an address on each network
    connect        a veth pair to each network; default route, published ports, DNS sockets
    move           for `network connect` and `disconnect`: the sockets that the monitor holds
    join, leave    the rest, which blocks: locks, disk, iptables-restore. A child of the monitor
                   does it, with the monitor's sockets (network_change.py)

One network is the gateway network: the first by name that is not internal (as in Docker). It has
the default route and the published ports; when it changes, both move.

Source: Docker Engine API 1.45 NetworkConnect; what dockerd 26.1 does.
"""

from __future__ import annotations

from minidock.engine.container.endpoints import (
    connected_endpoint,
    network_names,
    requested_address,
    requested_endpoint,
)
from minidock.engine.container.network_aliases import dns_names, has_dns_names
from minidock.engine.network import networks, published_ports
from minidock.engine.network.network_mode import DEFAULT
from minidock.engine.network.network_mode import parse_network_mode as mode_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from minidock.document_types.network import Binding, Endpoint, EndpointRequest
    from minidock.engine.container.containers import Container
    from minidock.engine.network.dns.sockets import DnsSockets


class NetworkSandbox:
    """The network sandbox of one run: its endpoints, published ports and DNS sockets.

    kind: "bridge", "host", "none" or "container". ports: the published ports, bound on the host.
    gateway_network: "" for none. dns_sockets: in the container's network namespace; None without
    name resolution.
    """

    def __init__(self, container: Container) -> None:
        self._container = container
        self._store = container.store
        self._pid = 0
        self._interfaces = 0
        mode = mode_of(container.host_config.get("NetworkMode") or "")
        self.kind = mode.kind
        if self.kind == "bridge" and not self._endpoints:  # it was disconnected from all
            self._endpoints[mode.target] = requested_endpoint(None)
        self.ports: list[published_ports.PublishedPort] = []
        self.dns_sockets: DnsSockets | None = None
        joined_now = network_names(container.document)
        self.gateway_network = (
            self.select_gateway_network(joined_now) if self.kind == "bridge" else ""
        )

    @property
    def address(self) -> str:
        """The container's address on the gateway network."""
        return self._endpoints[self.gateway_network]["IPAddress"] if self.gateway_network else ""

    def hold_ports(self) -> None:
        """Bind the published ports on the host; none without a gateway network."""
        wanted = wanted_ports(self._container, self.gateway_network)
        if self.gateway_network:
            self.ports = published_ports.bind(wanted, store=self._store)

    def reserve(self) -> list[str]:
        """Reserve an address on each network, until it is released."""
        if self.kind != "bridge":
            return []
        return [self._reserve(name) for name in self._networks_in_order()]

    def connect(self, pid: int) -> None:
        """Connect the container's network namespace to each network by a veth pair."""
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
        """Select the gateway network of these; "" for none."""
        return networks.gateway_network(self._store, joined)

    def move(self, joined: Sequence[str]) -> None:
        """Open the sockets for these networks: ports on another gateway network, DNS sockets.

        Raises Conflict if a port is taken, KernelError.
        """
        before, self.gateway_network = (
            self.gateway_network,
            self.select_gateway_network(joined),
        )
        ends = (before, self.gateway_network)
        addresses = {networks.binding_address(self._store, name) for name in ends}
        if not self.gateway_network or len(addresses) > 1:
            self.release()
        if self.gateway_network and not self.ports:
            self.hold_ports()
        if self.dns_sockets is None and any(name != DEFAULT for name in joined):
            from minidock.engine.network.dns.sockets import open_sockets  # few containers need it

            self.dns_sockets = open_sockets(self._pid, redirect=False)

    def join(self, name: str, asked: EndpointRequest, *, before: str) -> str:
        """Connect the running container to one more network, after `move`; returns its address.

        before: the previous gateway network. After an error, `leave` undoes it.
        """
        self._endpoints[name] = requested_endpoint(asked)
        networks.leave(self._store, self._container.id, name)  # after an interrupted attempt
        address = self._reserve(name)
        self._connect(name, is_gateway=False)
        self._move_gateway(before)
        return address

    def leave(self, name: str, *, before: str) -> str:
        """Disconnect it from a network, after `move`; returns its address there.

        before: the previous gateway network.
        """
        self._endpoints.pop(name, None)
        address = networks.leased_address(self._store, self._container.id, name)
        if name == DEFAULT:
            self._container.document["NetworkSettings"].update(
                {"EndpointID": "", "Gateway": "", "IPAddress": "", "IPPrefixLen": 0,
                 "MacAddress": ""}
            )  # fmt: skip
        self._move_gateway(before, lost=name)
        networks.leave(self._store, self._container.id, name)
        return address

    def count_interface(self) -> None:
        """Count the interface that a child task has created, for the name of the next one."""
        self._interfaces += 1

    def release(self) -> None:
        """Close the published ports."""
        for port in self.ports:
            port.close()
        self.ports = []

    def close_dns_sockets(self) -> None:
        """Close the DNS sockets, which keep the network namespace and its veth devices alive."""
        if self.dns_sockets is not None:
            self.dns_sockets.close()
            self.dns_sockets = None

    @property
    def _endpoints(self) -> dict[str, Endpoint]:
        return self._container.document["NetworkSettings"]["Networks"]

    def _networks_in_order(self) -> list[str]:
        return networks.join_order(self._store, network_names(self._container.document))

    def _reserve(self, name: str) -> str:
        address = requested_address(self._container.document, name)
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
            publish=published_ports.firewall_bindings(self.ports) if is_gateway else (),
            interface=f"eth{self._interfaces}",
            dns_names=dns_names(document, name),
            is_gateway=is_gateway,
        )
        self._interfaces += 1
        self._endpoints[name] = connected_endpoint(self._endpoints.get(name), endpoint)
        if name == DEFAULT:
            document["NetworkSettings"].update(
                {"EndpointID": endpoint["EndpointID"], "Gateway": endpoint["Gateway"],
                 "IPAddress": endpoint["IPAddress"], "IPPrefixLen": endpoint["IPPrefixLen"],
                 "MacAddress": endpoint["MacAddress"]}
            )  # fmt: skip

    def _move_gateway(self, before: str, *, lost: str = "") -> None:
        """Move the default route and the published ports to the current gateway network.

        before: the previous one. lost: the network about to be left, whose route goes with its
        interface.
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
                bindings=published_ports.firewall_bindings(self.ports),
            )
        self._record_ports()

    def _record_ports(self) -> None:
        exposed = (
            list(self._container.config.get("ExposedPorts") or {}) if self.gateway_network else []
        )
        port_map = published_ports.port_map(self.ports, exposed)
        self._container.document["NetworkSettings"]["Ports"] = port_map

    def _open_dns_sockets(self) -> None:
        if self.dns_sockets is None and has_dns_names(self._container.document):
            from minidock.engine.network.dns.sockets import open_sockets  # few containers need it

            self.dns_sockets = open_sockets(self._pid)


def wanted_ports(container: Container, gateway_network: str) -> list[Binding]:
    """The ports that the container publishes, as `published_ports.bind` takes them.

    gateway_network: its host address is the default to bind; "" for none, without ports.
    Raises UsageError for an invalid port, protocol or address.
    """
    host, config = container.host_config, container.config
    wanted = published_ports.parse_bindings(
        host.get("PortBindings") or {},
        list(config.get("ExposedPorts") or {}),
        publish_all=bool(host.get("PublishAllPorts")),
    )
    if not gateway_network:
        return []
    address = networks.binding_address(container.store, gateway_network)
    return [{**each, "HostIp": each["HostIp"] or address} for each in wanted]
