"""Defaults of the fields in a container's document, as `docker inspect` shows them.

A script that reads `{{.HostConfig.NetworkMode}}` or `{{.HostConfig.ShmSize}}` wants the effective
value. So a container's document has all of Docker's fields, in Docker's order, with their values
filled in at creation.

Source: Docker Engine API 1.45 ContainerInspect; output of dockerd 26.1.
"""

from __future__ import annotations

from minidock.document import without_null
from minidock.engine.container.endpoints import requested_endpoint
from minidock.engine.container.restart_policy import policy_of
from minidock.oci.runtime_config import DEFAULT_SHM_BYTES, MASKED_PATHS, READONLY_PATHS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from minidock.document_types.container import NetworkSettings
    from minidock.document_types.host_config import HostConfig
    from minidock.document_types.network import EndpointRequest

_DEFAULTS: HostConfig = {
    "Binds": None, "ContainerIDFile": "", "LogConfig": None, "NetworkMode": "",
    "PortBindings": {}, "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
    "AutoRemove": False, "VolumeDriver": "", "VolumesFrom": None, "ConsoleSize": [0, 0],
    "CapAdd": None, "CapDrop": None, "CgroupnsMode": "", "Dns": [], "DnsOptions": [],
    "DnsSearch": [], "ExtraHosts": None, "GroupAdd": None, "IpcMode": "", "Cgroup": "",
    "Links": None, "OomScoreAdj": 0, "PidMode": "", "Privileged": False, "PublishAllPorts": False,
    "ReadonlyRootfs": False, "SecurityOpt": None, "UTSMode": "", "UsernsMode": "", "ShmSize": 0,
    "Runtime": "minidock", "Isolation": "", "CpuShares": 0, "Memory": 0, "NanoCpus": 0,
    "CgroupParent": "", "BlkioWeight": 0, "BlkioWeightDevice": [], "BlkioDeviceReadBps": [],
    "BlkioDeviceWriteBps": [], "BlkioDeviceReadIOps": [], "BlkioDeviceWriteIOps": [],
    "CpuPeriod": 0, "CpuQuota": 0, "CpuRealtimePeriod": 0, "CpuRealtimeRuntime": 0,
    "CpusetCpus": "", "CpusetMems": "", "Devices": [], "DeviceCgroupRules": None,
    "DeviceRequests": None, "MemoryReservation": 0, "MemorySwap": 0, "MemorySwappiness": None,
    "OomKillDisable": False, "PidsLimit": None, "Ulimits": [], "CpuCount": 0, "CpuPercent": 0,
    "IOMaximumIOps": 0, "IOMaximumBandwidth": 0, "MaskedPaths": None, "ReadonlyPaths": None,
}  # fmt: skip


def _filled(asked: HostConfig) -> HostConfig:
    """Fields whose empty value means "the default"."""
    return {
        "CgroupnsMode": asked.get("CgroupnsMode") or "private",
        "IpcMode": asked.get("IpcMode") or "private",
        "ShmSize": asked.get("ShmSize") or DEFAULT_SHM_BYTES,
        "SecurityOpt": asked.get("SecurityOpt") or None,
        "PidsLimit": asked.get("PidsLimit") or None,
    }


def host_config(asked: HostConfig) -> HostConfig:
    """Return a HostConfig with all of its fields.

    asked: of the ContainerCreate call; its values stay, except those that mean "the default".
    """
    mode, policy = asked.get("NetworkMode") or "default", policy_of(asked)
    log, swappiness = asked.get("LogConfig") or {}, asked.get("MemorySwappiness")
    return {
        **_DEFAULTS,
        **without_null(asked),
        **_filled(asked),
        "LogConfig": {"Type": log.get("Type") or "json-file", "Config": log.get("Config") or {}},
        "RestartPolicy": {"Name": policy.name, "MaximumRetryCount": policy.maximum_retry_count},
        "NetworkMode": "bridge" if mode == "default" else mode,
        "MemorySwap": asked.get("MemorySwap") or (asked.get("Memory") or 0) * 2,
        "MemorySwappiness": None if (swappiness is None or swappiness < 0) else swappiness,
        "MaskedPaths": _protected(asked, "MaskedPaths", MASKED_PATHS),
        "ReadonlyPaths": _protected(asked, "ReadonlyPaths", READONLY_PATHS),
    }


def _protected(
    asked: HostConfig, field: Literal["MaskedPaths", "ReadonlyPaths"], usual: list[str]
) -> list[str] | None:
    """Paths of /proc and /sys kept from the container; those of a privileged one are not."""
    if asked.get("Privileged"):
        return None
    paths = asked.get(field)
    return usual if paths is None else paths


def network_settings(mode: str, asked: dict[str, EndpointRequest]) -> NetworkSettings:
    """Return NetworkSettings of a container that has not run: its requested networks.

    mode: HostConfig.NetworkMode. asked: NetworkingConfig.EndpointsConfig.
    """
    names = [] if mode.startswith("container:") else [mode, *asked]
    networks = {name: requested_endpoint(asked.get(name)) for name in names if name != "default"}
    return {
        "Bridge": "", "SandboxID": "", "SandboxKey": "", "Ports": {}, "HairpinMode": False,
        "LinkLocalIPv6Address": "", "LinkLocalIPv6PrefixLen": 0, "SecondaryIPAddresses": None,
        "SecondaryIPv6Addresses": None, "EndpointID": "", "Gateway": "", "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0, "IPAddress": "", "IPPrefixLen": 0, "IPv6Gateway": "",
        "MacAddress": "", "Networks": networks,
    }  # fmt: skip
