"""Flags of `run` and `create` for the network: mode, published ports, names, addresses.

They become HostConfig and NetworkingConfig fields of Docker's ContainerCreate body.
Source: Docker Engine API 1.45, HostConfig.PortBindings and NetworkingConfig.
"""

from __future__ import annotations

from minidock.addresses import is_address
from minidock.cli.flags.units import port_range
from minidock.cli.frame.pflag import FlagType, in_section, switch, unsupported, value, values
from minidock.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.cli.flags.flag_values import NetworkFlags
    from minidock.document_types.container import NetworkingConfig
    from minidock.document_types.host_config import HostConfig
    from minidock.document_types.network import EndpointRequest, PortBinding

# Patterns are compiled where they are used: `re` is heavy, and most command lines need none.
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_DOMAIN = rf"{_LABEL}(?:\.{_LABEL})*\.?"
_MAC = r"[0-9A-Fa-f]{2}(?:[:-][0-9A-Fa-f]{2}){5}"
USE_NAMES = (
    "links are a legacy feature of Docker; on a user-defined network containers resolve each other "
    "by name (minidock network create NET, then --network NET and --network-alias NAME)"
)
NO_IPV6 = "networks have only IPv4 addresses (docs/network.md explains why)"


def parse_extra_host(text: str) -> str:
    """ "name:address" or "name=address", as "name:address"."""
    name, separator, address = text.partition("=") if "=" in text else text.partition(":")
    if not separator or not name:
        raise ValueError(f'bad format for add-host: "{text}"')
    if address.startswith("[") and address.endswith("]"):
        address = address[1:-1]
    if address != "host-gateway" and not is_address(address):
        raise ValueError(f'invalid IP address in add-host: "{address}"')
    return f"{name}:{address}"


def _dns_server(text: str) -> str:
    if not is_address(text.strip()):
        raise ValueError(f"IP address is not correctly formatted: {text}")
    return text.strip()


def _dns_search(text: str) -> str:
    import re

    domain = text.strip()
    if domain != "." and not re.fullmatch(_DOMAIN, domain):
        raise ValueError(f"{text} is not a valid domain")
    return domain


def _ipv4(text: str) -> str:
    address = text.strip()
    if not is_address(address):
        raise ValueError(f'failed to parse IP: "{text}"')
    if ":" in address:
        raise ValueError(NO_IPV6)
    return address


def _network(text: str) -> tuple[str, EndpointRequest]:
    """One --network, in its short form or as name=NET,alias=A,ip=I: its name and its endpoint."""
    text = text or "default"
    if "=" not in text:
        if text == "container:":
            raise UsageError("invalid container format container:<name|id>")
        return text, {}
    endpoint: EndpointRequest = {}
    aliases: list[str] = []
    name = ""
    for piece in text.split(","):
        key, _, given = piece.partition("=")
        if key == "name":
            name = given
        elif key == "alias":
            aliases.append(given)
            endpoint["Aliases"] = aliases
        elif key == "ip":
            endpoint["IPAMConfig"] = {"IPv4Address": _ipv4(given)}
        elif key == "mac-address":
            endpoint["MacAddress"] = given
        elif key in ("ip6", "link-local-ip", "driver-opt"):
            raise UsageError(f"--network {key}= is not available")
        else:
            raise _not_a_network(text, f"invalid field key {key}")
    if not name:
        raise _not_a_network(text, "no name set for network")
    return name, endpoint


def _not_a_network(text: str, reason: str) -> UsageError:
    """Return Docker's error, which names the flag without its alias."""
    return UsageError(f'invalid argument "{text}" for "--network" flag: {reason}')


address_flag = value(
    "--ip",
    type=FlagType("ip", _ipv4),
    default="",
    help="IPv4 address of the container, such as 172.30.100.104",
)

network_flags = in_section(
    "Network",
    values(
        "--network",
        "--net",
        type=FlagType("network", _network),
        help="Connect a container to a network (NETWORK|bridge|none|host|container:NAME)",
    ),
    values(
        "-p",
        "--publish",
        help="Publish a port on the host ([[IP:]HOST_PORT:]PORT[/PROTOCOL])",
    ),
    switch("-P", "--publish-all", help="Publish each exposed port on a free port of the host"),
    values("--expose", help="Expose a port or a port range (PORT[-PORT][/PROTOCOL])"),
    values(
        "--add-host",
        type=FlagType("list", parse_extra_host),
        help="Add an entry to /etc/hosts (HOST:IP)",
    ),
    values(
        "--dns", type=FlagType("list", _dns_server), help="DNS server, instead of those of the host"
    ),
    values("--dns-option", "--dns-opt", help="Set DNS options"),
    values(
        "--dns-search",
        type=FlagType("list", _dns_search),
        help="DNS search domain, instead of those of the host",
    ),
    value(
        "--mac-address", default="", help="MAC address of the container, such as 92:d0:c6:0a:29:33"
    ),
    address_flag,
    values(
        "--network-alias",
        "--net-alias",
        help="Alias: one more DNS name of the container on this network",
    ),
    unsupported("--ip6", because=NO_IPV6),
    unsupported("--link-local-ip", because="link-local addresses are not supported"),
    unsupported("--link", because=USE_NAMES),
)


def network_fields(flags: NetworkFlags) -> tuple[HostConfig, NetworkingConfig, str]:
    """Return HostConfig's network fields, NetworkingConfig, and the requested MAC address."""
    endpoints = _endpoints(flags)
    mode = next(iter(endpoints))
    host: HostConfig = {
        "NetworkMode": mode,
        "PortBindings": port_bindings(flags["publish"]),
        "PublishAllPorts": flags["publish_all"],
        "ExtraHosts": list(flags["add_host"]) or None,
        "Dns": list(flags["dns"]),
        "DnsOptions": list(flags["dns_option"]),
        "DnsSearch": list(flags["dns_search"]),
    }
    mac_address = endpoints[mode].get("MacAddress", "")
    asked = endpoints if len(endpoints) > 1 else {n: e for n, e in endpoints.items() if e}
    return host, {"EndpointsConfig": asked}, mac_address


def _endpoints(flags: NetworkFlags) -> dict[str, EndpointRequest]:
    """Return the requested networks in order: name -> endpoint configuration."""
    endpoints: dict[str, EndpointRequest] = {}
    for name, given in flags["network"] or (("default", {}),):
        endpoint: EndpointRequest = {**given}
        if name in endpoints:
            raise UsageError(f'network "{name}" is specified multiple times')
        endpoints[name] = endpoint
    if len(endpoints) > 1 and not all(map(is_user_network, endpoints)):
        raise UsageError(
            "conflicting options: cannot attach both user-defined and non-user-defined "
            "network-modes"
        )
    first = next(iter(endpoints))
    _merge(endpoints[first], flags)
    for name, endpoint in endpoints.items():
        if endpoint.get("Aliases") and not is_user_network(name):
            raise UsageError("network-scoped aliases are only supported for user-defined networks")
        if endpoint.get("MacAddress") and name != first:
            raise UsageError(
                f"--network {name}: a MAC address can be set only on the first network",
                hint="on the other networks it is derived from the IP address",
            )
    return endpoints


def _merge(endpoint: EndpointRequest, flags: NetworkFlags) -> None:
    """Apply --ip, --network-alias and --mac-address, which configure the first network."""
    if flags["ip"]:
        if "IPAMConfig" in endpoint:
            raise UsageError(
                "conflicting options: cannot specify both --ip and per-network IPv4 address"
            )
        endpoint["IPAMConfig"] = {"IPv4Address": flags["ip"]}
    if aliases := flags["network_alias"]:
        if "Aliases" in endpoint:
            raise UsageError(
                "conflicting options: cannot specify both --network-alias and per-network alias"
            )
        endpoint["Aliases"] = list(aliases)
    if flags["mac_address"] and "MacAddress" not in endpoint:
        endpoint["MacAddress"] = flags["mac_address"]
    mac_address = endpoint.get("MacAddress", "")
    if mac_address and not _is_mac(mac_address):
        raise UsageError(f"{mac_address} is not a valid mac address")


def is_user_network(name: str) -> bool:
    """Whether a network is user-defined."""
    return name not in ("default", "bridge", "none", "host") and not name.startswith("container:")


def _is_mac(text: str) -> bool:
    import re

    return re.fullmatch(_MAC, text) is not None


def exposed_ports(flags: NetworkFlags) -> dict[str, dict[str, object]]:
    """Return the exposed ports: the published ones, and those of --expose."""
    exposed: dict[str, dict[str, object]] = dict.fromkeys(port_bindings(flags["publish"]), {})
    for text in flags["expose"]:
        if ":" in text:
            raise UsageError(f"invalid port format for --expose: {text}")
        ports, slash, protocol = text.partition("/")
        try:
            first, last = port_range(ports)
        except ValueError as reason:
            raise UsageError(
                f"invalid range format for --expose: {text}, error: {reason}"
            ) from None
        for port in range(first, last + 1):
            exposed[f"{port}/{protocol.lower() if slash else 'tcp'}"] = {}
    return exposed


def port_bindings(published: tuple[str, ...]) -> dict[str, list[PortBinding] | None]:
    """Return the bindings of -p: "80/tcp" -> [{"HostIp", "HostPort"}]."""
    bindings: dict[str, list[PortBinding]] = {}
    for text in published:
        for port, binding in _published(_short_form(text)):
            bindings.setdefault(port, []).append(binding)
    return {**bindings}


def _short_form(text: str) -> str:
    """ "target=80,published=8080,protocol=udp" as "8080:80/udp"; others as they are."""
    if "=" not in text:
        return text
    settings = dict(piece.partition("=")[::2] for piece in text.split(","))
    target, published = settings.pop("target", ""), settings.pop("published", "")
    protocol = settings.pop("protocol", "tcp")
    settings.pop("mode", "")  # "host" and "ingress" differ only in a swarm
    for unknown in settings:
        raise UsageError(f"-p {text}: unknown field {unknown}")
    return f"{published}:{target}/{protocol}"


def _published(text: str) -> list[tuple[str, PortBinding]]:
    """One -p as pairs of container port and binding: [ip:][host port:]container port[/protocol]."""
    rest, slash, protocol = text.partition("/")
    protocol = protocol.lower() or "tcp"
    address, host, container = _three_parts(rest)
    if not container:
        raise UsageError(f"No port specified: {text}<empty>")
    if address and not is_address(address):
        raise UsageError(f"Invalid ip address: {address}")
    if protocol not in ("tcp", "udp", "sctp"):
        raise UsageError(f"Invalid proto: {protocol}")
    first, last = _range(container, "containerPort")
    host_first, host_last = _range(host, "hostPort") if host else (0, 0)
    count, host_count = last - first + 1, host_last - host_first + 1
    if host and count != host_count and count != 1:
        raise UsageError(
            f"Invalid ranges specified for container and host Ports: {container} and {host}"
        )
    pairs: list[tuple[str, PortBinding]] = []
    for offset in range(count):
        # One container port for a range of host ports: any free one of them.
        host_port = host if count == 1 else str(host_first + offset) if host else ""
        pairs.append((f"{first + offset}/{protocol}", {"HostIp": address, "HostPort": host_port}))
    return pairs


def _three_parts(text: str) -> tuple[str, str, str]:
    """Address ("" for all), host port ("" for a random one), container port."""
    front, _, container = text.rpartition(":")
    address, colon, host = front.rpartition(":")
    if address.startswith("[") and address.endswith("]"):
        return address[1:-1], host, container
    if ":" in address:
        raise UsageError(
            f"Invalid ip address {address}: too many colons in address",
            hint="write an IPv6 address in brackets: [::1]:8080:80" if is_address(address) else "",
        )
    return address, host, container


def _range(text: str, what: str) -> tuple[int, int]:
    try:
        return port_range(text)
    except ValueError:
        raise UsageError(f"Invalid {what}: {text}") from None
