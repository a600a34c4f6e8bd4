"""The container that publishes a port, and the rules that should lead a packet to it."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from socket import AF_INET, AF_INET6, socket

from minidock.engine.container.containers import Container
from minidock.engine.container.lookup import find, list_containers
from minidock.engine.network import firewall, network_json, networks
from minidock.errors import Conflict, NotFound, UsageError
from minidock.paths import Store
from minidock.teach.packet.listeners import listeners

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.document_types.network import Binding, Lease, NetworkDocument

_LOOPBACK = "127.0.0.1"


@dataclass
class Target:
    """A published port, or a port at a container's own address (is_direct).

    destination, port: where the probe connects to. network: the network's state file.
    binding: {"HostIp", "HostPort", "Proto", "ContainerPort"}.
    """

    container: Container
    network: NetworkDocument
    binding: Binding
    destination: str
    port: int
    is_direct: bool = False

    @property
    def lease(self) -> Lease:
        return self.network["Leases"][self.container.id]

    @property
    def address(self) -> str:
        return str(self.lease["Address"])

    @property
    def container_port(self) -> int:
        return int(self.binding["ContainerPort"])

    @property
    def protocol(self) -> str:
        return str(self.binding["Proto"])

    @property
    def bridge(self) -> str:
        return str(self.network["Device"])

    @property
    def pid(self) -> int:
        return int(self.container.state["Pid"])

    @property
    def host_ip(self) -> str:
        return self.binding["HostIp"] or "0.0.0.0"

    def expected_rules(self) -> list[tuple[str, str, str]]:
        """The rules that this network should have: (table, chain, rule)."""
        chains: dict[tuple[str, str], list[str]] = {}
        jumps = firewall.jumps(self.bridge)
        for table, rules in networks.rules(self.network).items():
            for chain, lines in {**rules, **jumps[table]}.items():
                chains[table, chain] = lines
        return [(table, chain, rule) for (table, chain), lines in chains.items() for rule in lines]

    def missing(self, saved: str) -> list[tuple[str, str, str]]:
        """The expected rules that the output of iptables-save lacks."""
        have = firewall.parse(saved)
        return [
            (table, chain, rule)
            for table, chain, rule in self.expected_rules()
            if rule not in have.get(table, {}).get(chain, [])
        ]


def parse(text: str) -> tuple[str, int, str]:
    """ "8090", "127.0.0.1:8090", "[::1]:8090/udp" as (address or "", port, protocol).

    Raises UsageError.
    """
    body, _, protocol = text.partition("/")
    address, colon, number = body.rpartition(":")
    if protocol not in ("", "tcp", "udp"):
        raise UsageError(f"{text}: supported protocols: tcp, udp")
    protocol = protocol or "tcp"
    if not (number.isascii() and number.isdigit() and 0 < int(number) < 65536):
        raise UsageError(f"invalid port: {text}", hint="[ADDRESS:]PORT, such as 8090")
    if not colon:
        return "", int(number), protocol
    try:
        whole = str(ip_address(address.removeprefix("[").removesuffix("]")))
        return whole, int(number), protocol
    except ValueError:
        raise UsageError(f"{address} is not an address", hint="such as 127.0.0.1:8090") from None


def resolve(store: Store, destination: str, port: int, protocol: str = "tcp") -> Target:
    """Find the container that publishes this port of the host at this address.

    destination: "" chooses one: 127.0.0.1 if it is published there.
    Raises UsageError if the address is not this host's, NotFound if no running container publishes
    the port, Conflict if it is published at other addresses only.
    """
    if destination:
        _require_own(destination)
    candidates = [
        (network, binding)
        for network in network_json.read_all(store)
        for binding in network_json.list_bindings(network)
        if binding["HostPort"] == port and binding["Proto"] == protocol
    ]
    if not candidates:
        raise _nobody(store, port, protocol)
    for network, binding in sorted(candidates, key=lambda each: ":" in each[1]["HostIp"]):
        if address := _calls(binding["HostIp"], destination):
            container = find(store, binding["Container"])
            if not container.running or container.state["Pid"] == 0:
                raise _stopped(container, port)
            return Target(container, network, binding, address, port)
    where = ", ".join(sorted({binding["HostIp"] for _, binding in candidates}))
    raise Conflict(
        f"port {port} is published, but not on {destination}",
        hint=f"it is published on {where}: minidock packet {where.partition(',')[0]}:{port}",
    )


def _require_own(address: str) -> None:
    """Raise UsageError for an address of another machine: the probe stays on this host."""
    with socket(AF_INET6 if ":" in address else AF_INET) as trial:
        try:
            trial.bind((address, 0))
        except OSError:
            raise UsageError(
                f"{address} is not an address of this host", hint="see: ip address"
            ) from None


def _calls(host_ip: str, destination: str) -> str:
    """The address at which to connect to a binding; "" if it does not listen there."""
    any_address = host_ip in ("", "0.0.0.0", "::")
    same_kind = (":" in host_ip) == (":" in destination)
    if not destination:
        return {"::": "::1"}.get(host_ip, _LOOPBACK) if any_address else host_ip
    return destination if same_kind and (any_address or host_ip == destination) else ""


def between(store: Store, start: str, text: str) -> Target:
    """A port of a container, for a connection from another container: "web:80", or "web".

    Raises NotFound, Conflict if they share no network or if "web" listens on several ports.
    """
    name, colon, number = text.partition(":")
    container, caller = find(store, name), find(store, start)
    if colon and not (number.isascii() and number.isdigit() and 0 < int(number) < 65536):
        raise UsageError(f"invalid port: {text}", hint="CONTAINER[:PORT], such as web:80")
    for each in (container, caller):
        if not each.running or each.state["Pid"] == 0:
            raise Conflict(f"container {each.name} is not running", hint="minidock ps")
    networks_of = [
        n for n in network_json.read_all(store) if "Cable" in n["Leases"].get(container.id, {})
    ]
    shared = [n for n in networks_of if "Cable" in n["Leases"].get(caller.id, {})]
    if not networks_of:
        raise Conflict(f"container {name} is not attached to a bridge", hint="minidock network ls")
    network = (shared or networks_of)[0]
    port = int(number) if colon else _only_port(container)
    address = network["Leases"][container.id]["Address"]
    binding: Binding = {"HostIp": address, "HostPort": port, "Proto": "tcp", "ContainerPort": port}
    return Target(container, network, binding, address, port, is_direct=True)


def _only_port(container: Container) -> int:
    found = sorted({each.port for each in listeners(int(container.state["Pid"]))})
    if len(found) != 1:
        ports = ", ".join(map(str, found)) or "no port"
        raise Conflict(
            f"{container.name} listens on {ports}: name the port",
            hint=f"minidock packet CONTAINER {container.name}:PORT",
        )
    return found[0]


def _nobody(store: Store, port: int, protocol: str) -> NotFound:
    for container in list_containers(store):
        for key, bindings in (container.host_config.get("PortBindings") or {}).items():
            destination = [binding.get("HostPort") for binding in bindings or ()]
            if key.endswith(f"/{protocol}") and str(port) in destination:
                return _stopped(container, port)
    return NotFound(
        f"no container publishes port {port}{'' if protocol == 'tcp' else '/udp'}",
        hint="`minidock ps` lists published ports; to publish: minidock run -p "
        f"{port}:80 IMAGE; another program's port: ss -ltnp 'sport = :{port}'",
    )


def _stopped(container: Container, port: int) -> NotFound:
    return NotFound(
        f"port {port} belongs to container {container.name}, which is not running",
        hint=f"minidock start {container.name}",
    )
