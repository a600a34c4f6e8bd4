"""The OCI runtime config of a container, with Docker's defaults: pure functions.

Arguments supply what is decided elsewhere: the resolved user, the capabilities, the seccomp
profile, the mounts. Nothing here depends on the machine.

Sources: OCI runtime-spec config and config-linux; moby's oci/defaults.go for the default mounts,
masked paths and device list (facts); Docker Engine API v1.45 HostConfig.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from minidock.document_types.container import ContainerDocument
    from minidock.document_types.host_config import HostConfig
    from minidock.document_types.runtime_spec import (
        Cpu,
        Device,
        DeviceRule,
        Memory,
        Mount,
        Namespace,
        Process,
        Resources,
        RuntimeConfig,
        Seccomp,
        User,
    )

OCI_VERSION = "1.2.0"

MASKED_PATHS = [
    "/proc/asound", "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
    "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
    "/sys/devices/virtual/powercap",
]  # fmt: skip
READONLY_PATHS = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
DEFAULT_SHM_BYTES = 64 * 1024 * 1024
WITHOUT_ANNOTATION = "minidock.without"  # isolation to omit, comma-separated
DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def default_mounts(*, shm_bytes: int, writable_sys: bool) -> list[Mount]:
    """Return the mounts of every container: its own /proc, /dev, /sys and shared memory."""
    sys_access = [] if writable_sys else ["ro"]
    closed = ["nosuid", "noexec", "nodev"]
    return [
        _mount("/proc", "proc", closed),
        _mount("/dev", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        _mount(
            "/dev/pts", "devpts",
            ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        _mount("/sys", "sysfs", [*closed, *sys_access]),
        _mount("/sys/fs/cgroup", "cgroup", [*sys_access, *closed]),
        _mount("/dev/mqueue", "mqueue", closed),
        _mount("/dev/shm", "tmpfs", [*closed, "mode=1777", f"size={shm_bytes}"], source="shm"),
    ]  # fmt: skip


def _mount(target: str, fstype: str, options: list[str], *, source: str = "") -> Mount:
    return {
        "destination": target, "type": fstype, "source": source or fstype, "options": options,
    }  # fmt: skip


def default_devices() -> list[DeviceRule]:
    """Return Docker's device rules: deny all except creating nodes and opening those of /dev."""
    opened = ["c 1:3", "c 1:5", "c 1:7", "c 1:8", "c 1:9", "c 5:0", "c 5:1", "c 5:2", "c 136:*"]
    rules: list[DeviceRule] = [
        {"allow": False, "access": "rwm"},
        {"allow": True, "type": "c", "access": "m"},
        {"allow": True, "type": "b", "access": "m"},
    ]
    for entry in opened:
        kind, _, numbers = entry.partition(" ")
        major, _, minor = numbers.partition(":")
        rule: DeviceRule = {"allow": True, "type": kind, "major": int(major), "access": "rwm"}
        if minor != "*":
            rule["minor"] = int(minor)
        rules.append(rule)
    return rules


def runtime_config(
    document: ContainerDocument,
    *,
    rootfs: str,
    process: Process,
    seccomp: Seccomp | None,
    mounts: list[Mount],
    namespaces: list[Namespace],
    devices: tuple[list[Device], list[DeviceRule]],
    cgroup_path: str,
    limits_swap: bool,
) -> RuntimeConfig:
    """Return config.json for one start of a container.

    document: in `docker inspect` form. process: of process_config. devices: nodes to create,
    and access rules. cgroup_path: linux.cgroupsPath. limits_swap: whether the kernel can
    limit swap.
    """
    host = document["HostConfig"]
    config: RuntimeConfig = {
        "ociVersion": OCI_VERSION,
        "process": {**process, **_process_settings(host)},
        "root": {"path": rootfs, "readonly": bool(host.get("ReadonlyRootfs"))},
        "mounts": mounts,
        "linux": {
            "namespaces": namespaces,
            "cgroupsPath": cgroup_path,
            "resources": {**resources(host, limits_swap=limits_swap), "devices": devices[1]},
            "devices": devices[0],
            "maskedPaths": _paths(host, "MaskedPaths", MASKED_PATHS),
            "readonlyPaths": _paths(host, "ReadonlyPaths", READONLY_PATHS),
            "sysctl": sysctls(host),
        },
    }
    own_uts = any(ns["type"] == "uts" for ns in namespaces)
    if own_uts:
        config["hostname"] = document["Config"]["Hostname"]
        if document["Config"].get("Domainname"):
            config["domainname"] = document["Config"]["Domainname"]
    if seccomp is not None:
        config["linux"]["seccomp"] = seccomp
    return config


def has_own_mounts(config: RuntimeConfig) -> bool:
    """Whether the container has its own mount namespace."""
    return any(ns["type"] == "mount" for ns in config["linux"]["namespaces"])


def changes_root_by_chroot(config: RuntimeConfig) -> bool:
    """Whether chroot(2) replaces pivot_root(2): on request, or without a mount namespace.

    pivot_root(2) in the host's mount namespace would change the root of every host process.
    """
    return not has_own_mounts(config) or "pivot_root" in disabled_isolation(config)


def disabled_isolation(config: RuntimeConfig) -> list[str]:
    """The isolation that the annotation minidock.without disables."""
    return str((config.get("annotations") or {}).get(WITHOUT_ANNOTATION, "")).split(",")


def _paths(
    host: HostConfig, field: Literal["MaskedPaths", "ReadonlyPaths"], usual: list[str]
) -> list[str]:
    """Return the requested masked or read-only paths; an empty list differs from no request."""
    asked = host.get(field)
    if asked is not None:
        return asked
    return [] if host.get("Privileged") else usual


def _process_settings(host: HostConfig) -> Process:
    """Return the fields of "process" that come from HostConfig alone."""
    settings: Process = {
        "rlimits": [
            {"type": "RLIMIT_" + u["Name"].upper(), "soft": u["Soft"], "hard": u["Hard"]}
            for u in host.get("Ulimits") or []
        ]
    }
    height, width = host.get("ConsoleSize") or (0, 0)
    if height and width:
        settings["consoleSize"] = {"height": height, "width": width}
    if host.get("OomScoreAdj"):
        settings["oomScoreAdj"] = host["OomScoreAdj"]
    return settings


def process_config(
    *,
    terminal: bool,
    user: User,
    args: list[str],
    environment: list[str],
    cwd: str,
    capabilities: list[str],
    no_new_privileges: bool,
) -> Process:
    """Return OCI's "process": the container's first one, or one of exec."""
    return {
        "terminal": terminal,
        "user": user,
        "args": args,
        "env": environment,
        "cwd": cwd,
        "capabilities": {
            "bounding": capabilities,
            "effective": capabilities,
            "permitted": capabilities,
            "inheritable": [],
            "ambient": [],
        },
        "noNewPrivileges": no_new_privileges,
        "rlimits": [],
    }


def sysctls(host: HostConfig) -> dict[str, str]:
    """Return --sysctl, and settings of its own network: low ports and ping for all users."""
    asked = host.get("Sysctls") or {}
    mode = host.get("NetworkMode") or ""
    if mode == "host" or mode.startswith("container:"):
        return dict(asked)
    return {
        "net.ipv4.ip_unprivileged_port_start": "0",
        "net.ipv4.ping_group_range": "0 2147483647",
        **asked,
    }


def resources(host: HostConfig, *, limits_swap: bool) -> Resources:
    """Translate Docker's HostConfig to OCI's linux.resources, with requested limits only.

    limits_swap: False leaves swap out, if the kernel does not account for it.
    """
    asked: Resources = {}
    if memory := _memory(host, limits_swap=limits_swap):
        asked["memory"] = memory
    if cpu := _cpu(host):
        asked["cpu"] = cpu
    if pids := host.get("PidsLimit"):
        asked["pids"] = {"limit": pids}
    return asked


def _memory(host: HostConfig, *, limits_swap: bool) -> Memory:
    memory: Memory = {}
    if host.get("Memory"):
        memory["limit"] = host["Memory"]
        if limits_swap:
            # Docker's rule: if only memory is limited, the same amount of swap is allowed.
            memory["swap"] = host.get("MemorySwap") or 2 * host["Memory"]
    if host.get("MemoryReservation"):
        memory["reservation"] = host["MemoryReservation"]
    swappiness = host.get("MemorySwappiness")
    if swappiness is not None and swappiness >= 0:
        memory["swappiness"] = swappiness
    if host.get("OomKillDisable"):
        memory["disableOOMKiller"] = True
    return memory


def _cpu(host: HostConfig) -> Cpu:
    cpu: Cpu = {}
    if host.get("NanoCpus"):
        cpu["period"] = 100_000
        cpu["quota"] = host["NanoCpus"] * 100_000 // 1_000_000_000
    if host.get("CpuShares"):
        cpu["shares"] = host["CpuShares"]
    if host.get("CpuQuota"):
        cpu["quota"] = host["CpuQuota"]
    if host.get("CpuPeriod"):
        cpu["period"] = host["CpuPeriod"]
    if host.get("CpusetCpus"):
        cpu["cpus"] = host["CpusetCpus"]
    if host.get("CpusetMems"):
        cpu["mems"] = host["CpusetMems"]
    return cpu
