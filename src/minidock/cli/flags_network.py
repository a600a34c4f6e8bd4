"""Flags of `run` and `create` about the network: mode, published ports, names, addresses.

They become HostConfig and NetworkingConfig fields of Docker's ContainerCreate body.
Source: Docker Engine API 1.45, HostConfig.PortBindings and NetworkingConfig.
"""

from __future__ import annotations

from _socket import AF_INET, AF_INET6, inet_pton

from minidock.cli.pflag import Parsed, in_section, refused, switch, value, values
from minidock.cli.units import port_range
from minidock.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Patterns are compiled where they are used: `re` is heavy, and most command lines need none.
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_DOMAIN = rf"{_LABEL}(?:\.{_LABEL})*\.?"
_MAC = r"[0-9A-Fa-f]{2}(?:[:-][0-9A-Fa-f]{2}){5}"
_LATER = "user networks come later"


def is_address(text: str) -> bool:
    """Is this an IPv4 or IPv6 address?"""
    for family in (AF_INET, AF_INET6):
        try:
            inet_pton(family, text)
            return True
        except (OSError, ValueError):
            continue
    return False


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


network_flags = in_section(
    "Network",
    value("--network", "--net", default="", help="bridge, none, host, or container:NAME"),
    values("-p", "--publish", help="Publish a container's port(s) to the host"),
    switch("-P", "--publish-all", help="Publish all exposed ports to random ports"),
    values("--expose", help="Expose a port or a range of ports"),
    values(
        "--add-host",
        type=Parsed("list", parse_extra_host),
        help="Add a host-to-IP mapping (host:ip)",
    ),
    values("--dns", type=Parsed("list", _dns_server), help="Set custom DNS servers"),
    values("--dns-option", "--dns-opt", help="Set DNS options"),
    values("--dns-search", type=Parsed("list", _dns_search), help="Set custom DNS search domains"),
    value("--mac-address", default="", help="Container MAC address (e.g., 92:d0:c6:0a:29:33)"),
    refused("--ip", because=_LATER),
    refused("--ip6", because=_LATER),
    refused("--net-alias", "--network-alias", because=_LATER),
    refused("--link-local-ip", because=_LATER),
    refused("--link", because="it is Docker's legacy; names on user networks come later"),
)


def network_fields(flags: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any], str]:
    """HostConfig's network fields, NetworkingConfig, and the MAC address asked for."""
    mode, mac_address = _network(flags)
    host = {
        "NetworkMode": mode,
        "PortBindings": port_bindings(flags["publish"]),
        "PublishAllPorts": flags["publish_all"],
        "ExtraHosts": list(flags["add_host"]) or None,
        "Dns": list(flags["dns"]),
        "DnsOptions": list(flags["dns_option"]),
        "DnsSearch": list(flags["dns_search"]),
    }
    endpoints = {mode: {"MacAddress": mac_address}} if mac_address else {}
    return host, {"EndpointsConfig": endpoints}, mac_address


def _network(flags: dict[str, Any]) -> tuple[str, str]:
    """The network's mode, and the MAC address asked for ("": none)."""
    text: str = flags["network"]
    mac_address = flags["mac_address"]
    if "=" in text:
        settings = dict(piece.partition("=")[::2] for piece in text.split(","))
        text = settings.pop("name", "")
        mac_address = settings.pop("mac-address", mac_address)
        for unknown in settings:
            raise UsageError(f"--network {unknown}= is not available: {_LATER}")
        if not text:
            raise UsageError("no name set for network")
    if mac_address and not _is_mac(mac_address):
        raise UsageError(f"{mac_address} is not a valid mac address")
    other = text.removeprefix("container:")
    if text in ("", "default", "bridge", "none", "host") or (other and other != text):
        return text or "default", mac_address
    raise UsageError(
        f"--network {text} is not available: {_LATER}",
        hint="bridge, none, host and container:NAME are there",
    )


def _is_mac(text: str) -> bool:
    import re

    return re.fullmatch(_MAC, text) is not None


def exposed_ports(flags: dict[str, Any]) -> dict[str, Any]:
    """The ports that the container opens: those published, and those of --expose."""
    exposed: dict[str, Any] = dict.fromkeys(port_bindings(flags["publish"]), {})
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


def port_bindings(published: tuple[str, ...]) -> dict[str, list[dict[str, str]]]:
    """What -p asks for: "80/tcp" -> [{"HostIp", "HostPort"}]."""
    bindings: dict[str, list[dict[str, str]]] = {}
    for text in published:
        for port, binding in _published(_short_form(text)):
            bindings.setdefault(port, []).append(binding)
    return bindings


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


def _published(text: str) -> list[tuple[str, dict[str, str]]]:
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
    pairs = []
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
            hint="an IPv6 address stands in brackets: [::1]:8080:80" if is_address(address) else "",
        )
    return address, host, container


def _range(text: str, what: str) -> tuple[int, int]:
    try:
        return port_range(text)
    except ValueError:
        raise UsageError(f"Invalid {what}: {text}") from None
