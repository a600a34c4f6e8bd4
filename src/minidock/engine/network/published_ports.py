"""Published ports (-p, -P): parse them, and hold the host's ports with sockets.

A binding without an address means every address of the host, IPv4 and IPv6, as in Docker: two
sockets, one port number. iptables forwards IPv4 (firewall.py); the userland proxy forwards IPv6 and
everything that no rule matches (proxy_tcp.py, proxy_udp.py).

Sources: Docker Engine API 1.45 (PortMap, PortBinding), ip-sysctl.rst "ip_local_port_range".
"""

from __future__ import annotations

from errno import EADDRINUSE, EADDRNOTAVAIL

from minidock.addresses import is_address
from minidock.engine.network.network_json import list_bindings as bindings_of
from minidock.engine.network.network_json import read_all
from minidock.errors import Conflict, KernelError, UsageError
from minidock.kernel import sysctl
from minidock.kernel.port import HeldPort, hold
from minidock.numerals import is_decimal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from minidock.document_types.network import Binding, PortBinding, PortMap
    from minidock.paths import Store

_ATTEMPTS = 64  # to find a port that is free for both IPv4 and IPv6


class PublishedPort:
    """One published port of a container, held on the host.

    container_port, protocol: in the container. held: one socket, or two: IPv4, then IPv6.
    """

    def __init__(self, container_port: int, protocol: str, held: list[HeldPort]) -> None:
        self.container_port = container_port
        self.protocol = protocol
        self.held = held

    def close(self) -> None:
        """Release the host's port."""
        for port in self.held:
            port.close()


def parse_bindings(
    port_bindings: PortMap, exposed: Sequence[str] = (), *, publish_all: bool = False
) -> list[Binding]:
    """Convert HostConfig.PortBindings to a flat list, as `bind` takes it.

    port_bindings: {"80/tcp": [{"HostIp", "HostPort"}, ...]}. exposed: "80/tcp" each; publish_all
    (-P) publishes those without a binding on ephemeral ports.
    Raises UsageError for an invalid port, protocol or address.
    """
    asked: dict[str, list[PortBinding]] = {
        key: list(bindings or [{}]) for key, bindings in port_bindings.items()
    }
    if publish_all:
        for key in exposed:
            asked.setdefault(key, [{}])
    return [_request(key, binding) for key, bindings in asked.items() for binding in bindings]


def bind(bindings: Sequence[Binding], *, store: Store | None = None) -> list[PublishedPort]:
    """Hold all of these host ports, or none.

    bindings: {"HostIp", "HostPort" ("", "8090" or a range "8000-8010" to choose from), "Proto",
    "ContainerPort"}. store: to name the container that has the port in the error.
    Raises Conflict if a port is taken, KernelError for an address that the host does not have.
    """
    published: list[PublishedPort] = []
    try:
        # Fixed ports first, so that no range or ephemeral port takes one of them.
        for binding in sorted(bindings, key=lambda b: not is_single_port(str(b["HostPort"]))):
            published.append(_bind_one(binding, store))
    except BaseException:
        for port in published:
            port.close()
        raise
    return published


def firewall_bindings(published: Sequence[PublishedPort]) -> list[Binding]:
    """Convert held ports to bindings for networks.connect, which adds their firewall rules."""
    return [
        {
            "HostIp": port.host_ip,
            "HostPort": port.host_port,
            "Proto": each.protocol,
            "ContainerPort": each.container_port,
        }
        for each in published
        for port in each.held
    ]


def port_map(published: Sequence[PublishedPort], exposed: Sequence[str] = ()) -> PortMap:
    """Convert held ports to the form of docker inspect's NetworkSettings.Ports.

    exposed: "80/tcp" each; unpublished ones have the value None.
    """
    ports: PortMap = dict.fromkeys(exposed)
    for each in published:
        key = f"{each.container_port}/{each.protocol}"
        shown: list[PortBinding] = [
            {"HostIp": p.host_ip, "HostPort": str(p.host_port)} for p in each.held
        ]
        ports[key] = [*(ports.get(key) or []), *shown]
    return dict(sorted(ports.items()))


def _request(key: str, binding: PortBinding) -> Binding:
    number, _, protocol = key.partition("/")
    protocol = protocol or "tcp"
    if protocol not in ("tcp", "udp"):
        raise UsageError(f"cannot publish {key}: minidock publishes tcp and udp, not {protocol}")
    host_ip = binding.get("HostIp") or ""
    if host_ip and not is_address(host_ip):
        raise UsageError(f"invalid IP address: {host_ip}", hint="-p 127.0.0.1:8090:80")
    host_port = str(binding.get("HostPort") or "")
    low, high = _range(host_port)
    if low > high:
        raise UsageError(f"invalid range format for hostPort: {host_port}")
    return {
        "HostIp": host_ip,
        "HostPort": host_port,
        "Proto": protocol,
        "ContainerPort": _port(number, key),
    }


def _bind_one(binding: Binding, store: Store | None) -> PublishedPort:
    protocol = binding["Proto"]
    addresses = [binding["HostIp"]] if binding["HostIp"] else wildcard_addresses()
    last: KernelError | None = None
    for host_port in candidate_ports(str(binding["HostPort"])):
        try:
            held = hold_all(addresses, host_port, protocol)
        except KernelError as error:
            if error.errno != EADDRINUSE:
                raise with_hint(error, addresses[0], host_port) from None
            last = error
            continue
        return PublishedPort(int(binding["ContainerPort"]), protocol, held)
    taken = f"{addresses[0]}:{binding['HostPort'] or 'any'}"
    raise port_taken(taken, binding, store) from last


def hold_all(addresses: list[str], host_port: int, protocol: str) -> list[HeldPort]:
    """Hold the same port on all addresses, or on none; 0 lets the kernel choose the port."""
    held: list[HeldPort] = []
    try:
        for address in addresses:
            held.append(hold(address, held[0].host_port if held else host_port, protocol))
    except BaseException:
        for port in held:
            port.close()
        raise
    return held


def wildcard_addresses() -> list[str]:
    """Return the wildcard addresses of this host: IPv4, and IPv6 if it is enabled."""
    has_ipv6 = sysctl.read("net/ipv6/conf/all/disable_ipv6") == "0"
    return ["0.0.0.0", "::"] if has_ipv6 else ["0.0.0.0"]


def candidate_ports(host_port: str) -> Iterator[int]:
    """Yield the ports to try for a binding, in order; 0 lets the kernel choose."""
    low, high = _range(host_port)
    if low == high == 0:
        yield from [0] * _ATTEMPTS
    else:
        yield from range(low, high + 1)


def is_single_port(host_port: str) -> bool:
    """Whether a binding names a single host port."""
    low, high = _range(host_port)
    return low == high != 0


def _range(host_port: str) -> tuple[int, int]:
    """ "" as (0, 0), "8090" as (8090, 8090), "8000-8010" as (8000, 8010)."""
    if host_port in ("", "0"):
        return 0, 0
    low, dash, high = host_port.partition("-")
    first = _port(low, host_port)
    return first, _port(high, host_port) if dash else first


def _port(text: str, whole: str) -> int:
    if not (is_decimal(text) and 0 < int(text) < 65536):
        raise UsageError(f"invalid port: {whole}", hint="a port is a number from 1 to 65535")
    return int(text)


def with_hint(error: KernelError, address: str, host_port: int) -> KernelError:
    """Add a hint to the error of a port that could not be held."""
    if error.errno == EADDRNOTAVAIL:
        error.hint = f"{address} is not an address of this host; see: ip address"
    elif host_port:
        error.hint = f"cannot publish a port on {address}:{host_port}"
    return error


def port_taken(taken: str, binding: Binding, store: Store | None) -> Conflict:
    """Return Docker's error for a port that another container or another program uses."""
    owner = _owner(store, binding) if store is not None else ""
    if owner:
        return Conflict(
            f"Bind for {taken} failed: port is already allocated",
            hint=f"container {owner[:12]} publishes it: stop it, or choose another port",
        )
    listing = "-lunp" if binding["Proto"] == "udp" else "-ltnp"
    return Conflict(
        f"Bind for {taken} failed: address already in use",
        hint=f"find its owner: ss {listing} 'sport = :{binding['HostPort']}'",
    )


def _owner(store: Store, binding: Binding) -> str:
    """Return the id of the container of this store that publishes a port; "" for none."""
    wanted = (str(binding["HostPort"]), binding["Proto"])
    for network in read_all(store):
        for other in bindings_of(network):
            if (str(other["HostPort"]), other["Proto"]) == wanted:
                return str(other["Container"])
    return ""
