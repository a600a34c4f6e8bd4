"""Networks in the form of docker network inspect. Read-only.

Source: Docker Engine API 1.45, NetworkInspect.
"""

from __future__ import annotations

from minidock.document import report_skipped, without_empty
from minidock.engine.network.network_mode import DEFAULT
from minidock.engine.store import container_json
from minidock.errors import DamagedFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.document_types.network import (
        ConnectedContainer,
        IpamConfig,
        NetworkDocument,
        NetworkInspect,
    )
    from minidock.paths import Store


def document(store: Store, state: NetworkDocument) -> NetworkInspect:
    """Convert a network's state to Docker's form, with the connected containers."""
    return {
        "Name": state["Name"],
        "Id": state["Id"],
        "Created": state["Created"],
        "Scope": "local",
        "Driver": state["Driver"],
        "EnableIPv6": False,
        "IPAM": {
            "Driver": "default",
            "Options": {} if "Asked" in state else None,
            "Config": _ranges(state),
        },
        "Internal": state.get("Internal", False),
        "Attachable": state.get("Attachable", False),
        "Ingress": False,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
        "Containers": _containers(store, state),
        "Options": _options(store, state),
        "Labels": state.get("Labels", {}),
    }


def _ranges(state: NetworkDocument) -> list[IpamConfig] | None:
    """Return the requested IPAM configuration; else the assigned one, once there is one."""
    if state["Driver"] != "bridge":
        return None
    asked = state.get("Asked") or {}
    if asked.get("Subnet"):
        return [without_empty(asked)]
    if "Subnet" not in state:
        return []
    return [{"Subnet": state["Subnet"], "Gateway": state["Gateway"]}]


def _containers(store: Store, state: NetworkDocument) -> dict[str, ConnectedContainer]:
    prefix = state.get("Subnet", "").partition("/")[2]
    return {
        container_id: {
            "Name": _name(store, container_id),
            "EndpointID": lease["EndpointID"],
            "MacAddress": lease["MacAddress"],
            "IPv4Address": f"{lease['Address']}/{prefix}",
            "IPv6Address": "",
        }
        for container_id, lease in state["Leases"].items()
        if "EndpointID" in lease  # else only reserved
    }


def _name(store: Store, container_id: str) -> str:
    try:
        found = container_json.read(store, container_id)
    except DamagedFile as error:
        report_skipped(error)
        return ""
    return found["Name"].removeprefix("/") if found else ""  # "": removed meanwhile


def _options(store: Store, state: NetworkDocument) -> dict[str, str]:
    if state["Name"] != DEFAULT:
        return dict(state.get("Options") or {})
    return {
        "com.docker.network.bridge.default_bridge": "true",
        "com.docker.network.bridge.enable_icc": "true",
        "com.docker.network.bridge.enable_ip_masquerade": "true",
        "com.docker.network.bridge.host_binding_ipv4": "0.0.0.0",
        "com.docker.network.bridge.name": store.bridge,
        "com.docker.network.driver.mtu": "1500",
    }
