"""OCI's linux.resources: the checks that both cgroup versions share.

Sources: OCI runtime-spec config-linux.md "Control groups"; runc's checks of the same.
"""

from __future__ import annotations

from minidock.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from minidock.document_types.runtime_spec import Cpu, Resources

_KNOWN = {
    "": {
        "devices", "memory", "cpu", "pids", "blockIO", "hugepageLimits", "network", "unified",
    },
    "memory": {
        "limit", "reservation", "swap", "kernelTCP", "swappiness", "disableOOMKiller",
        "useHierarchy", "checkBeforeUpdate",
    },
    "cpu": {
        "shares", "quota", "burst", "period", "realtimeRuntime", "realtimePeriod", "cpus", "mems",
        "idle",
    },
    "pids": {"limit"},
    "blockIO": {
        "weight", "leafWeight", "weightDevice", "throttleReadBpsDevice", "throttleWriteBpsDevice",
        "throttleReadIOPSDevice", "throttleWriteIOPSDevice",
    },
    "network": {"classID", "priorities"},
}  # fmt: skip


def check_resources(resources: Resources) -> None:
    """Refuse a limit that neither version knows; none is ever ignored."""
    given: dict[str, Mapping[str, object] | None] = {
        "": resources,
        "memory": resources.get("memory"),
        "cpu": resources.get("cpu"),
        "pids": resources.get("pids"),
        "blockIO": resources.get("blockIO"),
        "network": resources.get("network"),
    }
    for group, known in _KNOWN.items():
        for name, value in (given[group] or {}).items():
            if name not in known and value:
                where = f"{group} {name}".strip()
                raise UsageError(f"linux.resources: {where} is not supported")


def shares_of(cpu: Cpu) -> int:
    """Return the requested cpu.shares, 0 for none; the kernel would round invalid ones silently.

    Raises UsageError outside 2 to 262144.
    """
    shares: int = cpu.get("shares") or 0
    if shares and not 2 <= shares <= 262144:
        edge, bound = ("minimum", 2) if shares < 2 else ("maximum", 262144)
        raise UsageError(f"the {edge} allowed cpu-shares is {bound}, not {shares}")
    return shares
