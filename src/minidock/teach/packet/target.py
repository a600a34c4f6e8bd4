"""Which container publishes a port, and how a packet should come to it."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from socket import AF_INET, AF_INET6, socket
from typing import Any

from minidock.engine.container.containers import Container
from minidock.engine.container.lookup import find, list_containers
from minidock.engine.network import firewall, network_json, networks
from minidock.errors import Conflict, NotFound, UsageError
from minidock.paths import Store
from minidock.teach.packet.listeners import listeners

_LOOPBACK = "127.0.0.1"


@dataclass
class Target:
    """A published port, or one that a container is called at by its own address.

    asked: the address that the probe is to call, port: there. network: its file.
    binding: {"HostIp", "HostPort", "Proto", "ContainerPort"}; is_direct: by its own address.
    """

    container: Container
    network: dict[str, Any]
    binding: dict[str, Any]
    asked: str
    port: int
    is_direct: bool = False

    @property
    def lease(self) -> dict[str, Any]:
        return self.network["Leases"][self.container.id]  # type: ignore[no-any-return]

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

    def wanted(self) -> list[tuple[str, str, str]]:
        """The rules that this network has when all is well: (table, chain, rule)."""
        chains: dict[tuple[str, str], list[str]] = {}
        jumps = firewall.jumps(self.bridge)
        for table, rules in networks.rules(self.network).items():
            for chain, lines in {**rules, **jumps[table]}.items():
                chains[table, chain] = lines
        return [(table, chain, rule) for (table, chain), lines in chains.items() for rule in lines]

    def missing(self, saved: str) -> list[tuple[str, str, str]]:
        """Those of them that iptables-save did not print."""
        have = firewall.parse(saved)
        return [
            (table, chain, rule)
            for table, chain, rule in self.wanted()
            if rule not in have.get(table, {}).get(chain, [])
        ]


def parse(text: str) -> tuple[str, int, str]:
    """ "8090", "127.0.0.1:8090", "[::1]:8090/udp" as (address or "", port, protocol).

    Raises UsageError.
    """
    body, _, protocol = text.partition("/")
    address, colon, number = body.rpartition(":")
    if protocol not in ("", "tcp", "udp"):
        raise UsageError(f"{text}: TCP and UDP can be followed, not {protocol}")
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


def resolve(store: Store, asked: str, port: int, protocol: str = "tcp") -> Target:
    """The container that publishes this port of the host, and answers at this address of it.

    asked: "" for the address at which it is nearest: 127.0.0.1, where it is published there.
    Raises UsageError for an address that is not this machine's, NotFound where no running container
    publishes the port, Conflict where not at that address.
    """
    if asked:
        _require_own(asked)
    candidates = [
        (network, binding)
        for network in network_json.read_all(store)
        for binding in network_json.list_bindings(network)
        if binding["HostPort"] == port and binding["Proto"] == protocol
    ]
    if not candidates:
        raise _nobody(store, port, protocol)
    for network, binding in sorted(candidates, key=lambda each: ":" in each[1]["HostIp"]):
        if address := _calls(binding["HostIp"], asked):
            container = find(store, binding["Container"])
            if not container.running or container.state["Pid"] == 0:
                raise _stopped(container, port)
            return Target(container, network, binding, address, port)
    where = ", ".join(sorted({binding["HostIp"] for _, binding in candidates}))
    raise Conflict(
        f"port {port} is published, but not on {asked}",
        hint=f"it is published on {where}: minidock packet {where.partition(',')[0]}:{port}",
    )


def _require_own(address: str) -> None:
    """No packet of ours is sent to another machine."""
    with socket(AF_INET6 if ":" in address else AF_INET) as trial:
        try:
            trial.bind((address, 0))
        except OSError:
            raise UsageError(
                f"{address} is no address of this host", hint="see: ip address"
            ) from None


def _calls(host_ip: str, asked: str) -> str:
    """The address to call a binding by; "" where it does not answer there."""
    any_address = host_ip in ("", "0.0.0.0", "::")
    same_kind = (":" in host_ip) == (":" in asked)
    if not asked:
        return {"::": "::1"}.get(host_ip, _LOOPBACK) if any_address else host_ip
    return asked if same_kind and (any_address or host_ip == asked) else ""


def between(store: Store, start: str, text: str) -> Target:
    """A port of a container, as another container calls it: "web:80", or "web" that has one.

    Raises NotFound, Conflict where they are on no network together or it is not clear which port.
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
        raise Conflict(f"container {name} is on no bridge just now", hint="minidock network ls")
    network = (shared or networks_of)[0]
    port = int(number) if colon else _only_port(container)
    address = network["Leases"][container.id]["Address"]
    binding = {"HostIp": address, "HostPort": port, "Proto": "tcp", "ContainerPort": port}
    return Target(container, network, binding, address, port, is_direct=True)


def _only_port(container: Container) -> int:
    found = sorted({each.port for each in listeners(int(container.state["Pid"]))})
    if len(found) != 1:
        ports = ", ".join(map(str, found)) or "no port"
        raise Conflict(
            f"{container.name} listens on {ports}: which is meant?",
            hint=f"minidock packet CONTAINER {container.name}:PORT",
        )
    return found[0]


def _nobody(store: Store, port: int, protocol: str) -> NotFound:
    for container in list_containers(store):
        for key, bindings in (container.host_config.get("PortBindings") or {}).items():
            asked = [binding.get("HostPort") for binding in bindings or ()]
            if key.endswith(f"/{protocol}") and str(port) in asked:
                return _stopped(container, port)
    return NotFound(
        f"no container publishes port {port}{'' if protocol == 'tcp' else '/udp'}",
        hint="`minidock ps` lists what is published; to publish: minidock run -p "
        f"{port}:80 IMAGE. Another program's? ss -ltnp 'sport = :{port}'",
    )


def _stopped(container: Container, port: int) -> NotFound:
    return NotFound(
        f"port {port} is {container.name}'s, which is not running: nobody holds the port now",
        hint=f"minidock start {container.name}",
    )
