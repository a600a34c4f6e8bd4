"""A container's networks: the endpoints in its document.

NetworkSettings.Networks has both what was requested (IPAMConfig, Aliases) and, while the container
runs, what was assigned. Pure functions of the document; engine/network configures the kernel.

Source: Docker Engine API 1.45 EndpointSettings; output of dockerd 26.1.
"""

from __future__ import annotations

from minidock.errors import Conflict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.document_types.container import ContainerDocument
    from minidock.document_types.network import Endpoint, EndpointRequest
    from minidock.engine.container.containers import Container

NO_ENDPOINT: Endpoint = {
    "IPAMConfig": None, "Links": None, "Aliases": None, "MacAddress": "", "NetworkID": "",
    "EndpointID": "", "Gateway": "", "IPAddress": "", "IPPrefixLen": 0, "IPv6Gateway": "",
    "GlobalIPv6Address": "", "GlobalIPv6PrefixLen": 0, "DriverOpts": None, "DNSNames": None,
}  # fmt: skip


def requested_endpoint(endpoint: EndpointRequest | None) -> Endpoint:
    """Return an endpoint that is not connected: only what was requested."""
    return _with_requests(NO_ENDPOINT, endpoint or {})


def connected_endpoint(before: Endpoint | None, now: Endpoint) -> Endpoint:
    """Return a connected endpoint: what was requested and what was assigned."""
    return _with_requests(now, before or NO_ENDPOINT)


def _with_requests(endpoint: Endpoint, asked: EndpointRequest | Endpoint) -> Endpoint:
    return {
        **endpoint,
        "IPAMConfig": asked.get("IPAMConfig"),
        "Links": asked.get("Links"),
        "Aliases": asked.get("Aliases"),
        "DriverOpts": asked.get("DriverOpts"),
    }


def network_names(document: ContainerDocument) -> list[str]:
    """List the networks that it is connected to, or will be when it runs."""
    return list(document["NetworkSettings"]["Networks"])


def requested_address(document: ContainerDocument, network: str) -> str:
    """Return the requested address on a network, "" for any."""
    endpoint = document["NetworkSettings"]["Networks"].get(network, NO_ENDPOINT)
    return (endpoint.get("IPAMConfig") or {}).get("IPv4Address") or ""


def require_not_connected(container: Container, network: str) -> None:
    """Raise Conflict if the container is on this network."""
    if network in container.document["NetworkSettings"]["Networks"]:
        raise Conflict(
            f"endpoint with name {container.name} already exists in network {network}",
            hint=f"minidock network disconnect {network} {container.name}",
        )


def require_connected(container: Container, network: str) -> None:
    """Raise Conflict if the container is not on this network."""
    if network not in container.document["NetworkSettings"]["Networks"]:
        raise Conflict(f"container {container.id} is not connected to network {network}")
