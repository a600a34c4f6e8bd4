"""The names by which other containers find a container on a user-defined network.

They are its name, its aliases (--network-alias), its short id and its hostname. The document has
them as DNSNames; the network files have them for the DNS server (engine/network/dns/records.py).

Source: Docker Engine API 1.45 EndpointSettings.
"""

from __future__ import annotations

from minidock.engine.container.endpoints import NO_ENDPOINT
from minidock.engine.network.network_mode import DEFAULT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.document_types.container import ContainerDocument


def dns_names(document: ContainerDocument, network: str) -> list[str] | None:
    """List its DNS names on a network; None on the default one, which has no DNS."""
    if network == DEFAULT:
        return None
    endpoint = document["NetworkSettings"]["Networks"].get(network, NO_ENDPOINT)
    short_id = document["Id"][:12]
    candidates = [
        document["Name"].lstrip("/"),
        *(endpoint.get("Aliases") or []),
        short_id,
        document["Config"].get("Hostname") or short_id,
    ]
    return list(dict.fromkeys(candidates))


def has_dns_names(document: ContainerDocument) -> bool:
    """Whether it is on a network with DNS for container names."""
    mode = document["HostConfig"].get("NetworkMode") or DEFAULT
    if mode in ("host", "none") or mode.startswith("container:"):
        return False
    return any(name != DEFAULT for name in document["NetworkSettings"]["Networks"])


def refresh_dns_names(document: ContainerDocument) -> None:
    """Set DNSNames of the connected endpoints again, after a change of the container's name."""
    for network, endpoint in document["NetworkSettings"]["Networks"].items():
        if endpoint.get("DNSNames"):
            endpoint["DNSNames"] = dns_names(document, network)
