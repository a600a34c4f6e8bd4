"""Networks as Docker shows them: the form of docker network inspect.

Reading only. Source: Docker Engine API 1.45, NetworkInspect.
"""

from __future__ import annotations

from minidock import jsontext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minidock.paths import Store


def document(store: Store, state: dict[str, Any]) -> dict[str, Any]:
    """A network's file in Docker's form, with the containers that are on it now."""
    config = None
    if state["Driver"] == "bridge":
        ranges = {"Subnet": state.get("Subnet", ""), "Gateway": state.get("Gateway", "")}
        config = [ranges] if ranges["Subnet"] else []  # none yet before the first use
    return {
        "Name": state["Name"],
        "Id": state["Id"],
        "Created": state["Created"],
        "Scope": "local",
        "Driver": state["Driver"],
        "EnableIPv6": False,
        "IPAM": {"Driver": "default", "Options": None, "Config": config},
        "Internal": False,
        "Attachable": False,
        "Ingress": False,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
        "Containers": _containers(store, state),
        "Options": _options(store) if state["Driver"] == "bridge" else {},
        "Labels": {},
    }


def _containers(store: Store, state: dict[str, Any]) -> dict[str, Any]:
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
        if "EndpointID" in lease  # else it is only reserved
    }


def _name(store: Store, container_id: str) -> str:
    try:
        with open(store.container(container_id).document, encoding="utf-8") as file:
            return str(jsontext.loads(file.read())["Name"]).removeprefix("/")
    except FileNotFoundError:
        return ""  # removed just now


def _options(store: Store) -> dict[str, str]:
    return {
        "com.docker.network.bridge.default_bridge": "true",
        "com.docker.network.bridge.enable_icc": "true",
        "com.docker.network.bridge.enable_ip_masquerade": "true",
        "com.docker.network.bridge.host_binding_ipv4": "0.0.0.0",
        "com.docker.network.bridge.name": store.bridge,
        "com.docker.network.driver.mtu": "1500",
    }
