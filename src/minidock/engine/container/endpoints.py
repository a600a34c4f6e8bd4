"""Which networks a container is on, and what it is called there: its document's endpoints.

NetworkSettings.Networks says both what was asked for (IPAMConfig, Aliases) and, while the container
runs, what it got. Pure functions of the document; the kernel's side is engine/network's.

Source: Docker Engine API 1.45 EndpointSettings; what dockerd 26.1 answers.
"""

from __future__ import annotations

from minidock.engine.network.endpoint import DEFAULT
from minidock.errors import Conflict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minidock.engine.container.containers import Container

NO_ENDPOINT: dict[str, Any] = {
    "IPAMConfig": None, "Links": None, "Aliases": None, "MacAddress": "", "NetworkID": "",
    "EndpointID": "", "Gateway": "", "IPAddress": "", "IPPrefixLen": 0, "IPv6Gateway": "",
    "GlobalIPv6Address": "", "GlobalIPv6PrefixLen": 0, "DriverOpts": None, "DNSNames": None,
}  # fmt: skip
_ASKED = ("IPAMConfig", "Links", "Aliases", "DriverOpts")


def requested_endpoint(endpoint: dict[str, Any] | None) -> dict[str, Any]:
    """An endpoint that is not connected: what was asked for, and nothing else."""
    given = endpoint or {}
    return {**NO_ENDPOINT, **{key: given[key] for key in _ASKED if given.get(key) is not None}}


def connected_endpoint(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """An endpoint that is connected: what it got, beside what was asked for."""
    return {**now, **{key: before.get(key) for key in _ASKED}}


def network_names(document: dict[str, Any]) -> list[str]:
    """The names of the networks that it is on, or is to be on when it runs."""
    return list(document["NetworkSettings"]["Networks"])


def requested_address(document: dict[str, Any], network: str) -> str:
    """The address that it must have on a network, "" for any."""
    endpoint = document["NetworkSettings"]["Networks"].get(network) or {}
    return str((endpoint.get("IPAMConfig") or {}).get("IPv4Address") or "")


def dns_names(document: dict[str, Any], network: str) -> list[str] | None:
    """What its neighbours on a network may call it; None on the default one, which has no names."""
    if network == DEFAULT:
        return None
    endpoint = document["NetworkSettings"]["Networks"].get(network) or {}
    short_id = document["Id"][:12]
    candidates = [
        document["Name"].lstrip("/"),
        *(endpoint.get("Aliases") or []),
        short_id,
        document["Config"].get("Hostname") or short_id,
    ]
    return list(dict.fromkeys(candidates))


def has_dns_names(document: dict[str, Any]) -> bool:
    """Whether it is on a network whose containers know each other by name."""
    mode = document["HostConfig"].get("NetworkMode") or DEFAULT
    if mode in ("host", "none") or mode.startswith("container:"):
        return False
    return any(name != DEFAULT for name in document["NetworkSettings"]["Networks"])


def require_not_connected(container: Container, network: str) -> None:
    """Raise Conflict where the container is on this network."""
    if network in container.document["NetworkSettings"]["Networks"]:
        raise Conflict(
            f"endpoint with name {container.name} already exists in network {network}",
            hint=f"minidock network disconnect {network} {container.name}",
        )


def require_connected(container: Container, network: str) -> None:
    """Raise Conflict where the container is not on this network."""
    if network not in container.document["NetworkSettings"]["Networks"]:
        raise Conflict(f"container {container.id} is not connected to network {network}")
