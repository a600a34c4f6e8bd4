"""`update`: other limits and another restart policy for a container, running or not.

What a container was not asked to have, the kernel is not told: only what changes is written, into
the cgroup of the run first, and then into the document. So a value that the kernel refuses changes
nothing there. A run's monitor reads the restart policy when the run ends.

Source: Docker Engine API 1.45 ContainerUpdate; what docker 26.1 refuses, in its words.
"""

from __future__ import annotations

from minidock.engine.container.cgroups import block_io, cgroup_of
from minidock.engine.container.containers import Container
from minidock.engine.container.events import emit_container
from minidock.engine.container.lookup import wait_until_settled
from minidock.engine.container.restart import check_policy, policy_of
from minidock.engine.store.journal import recording_to
from minidock.errors import Conflict, MinidockError
from minidock.kernel import cgroup
from minidock.oci.runtime_config import resources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minidock.paths import Store

_CPU = ("NanoCpus", "CpuPeriod", "CpuQuota", "CpuShares", "CpusetCpus", "CpusetMems")


def update(store: Store, reference: str, changes: dict[str, Any]) -> None:
    """Change a container's HostConfig. changes: its fields; 0 and "" leave a limit as it is.

    PidsLimit of 0 or less lifts that limit. Raises NotFound, and Conflict for what does not go with
    what the container has, or what the kernel refuses.
    """
    container = wait_until_settled(store, reference)
    with container.editing():
        container.reload()
        wanted = {name: value for name, value in changes.items() if value or name == "PidsLimit"}
        if wanted.get("PidsLimit", 0) < 0:
            wanted["PidsLimit"] = 0
        try:
            _check(container.host_config, wanted)
            check_policy({**container.host_config, **wanted})
            if container.running and not container.restarting:
                _apply(container, wanted)
        except MinidockError as error:
            if isinstance(error, Conflict):
                raise Conflict(f"Cannot update container {container.id}: {error}") from None
            raise
        if "RestartPolicy" in wanted:
            policy = policy_of(wanted)
            wanted["RestartPolicy"] = {"Name": policy.name, "MaximumRetryCount": policy.most}
        container.host_config.update(wanted)
        container.save()
    emit_container(container, "update")


def _check(now: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Refuse what does not go together with what the container has."""
    if "RestartPolicy" in wanted and now.get("AutoRemove"):
        raise Conflict(
            "Restart policy cannot be updated because AutoRemove is enabled for the container"
        )
    swap = now.get("MemorySwap") or 0
    memory = wanted.get("Memory") or now.get("Memory") or 0
    if wanted.get("MemorySwap", 0) > 0 and not memory:
        raise Conflict("the limit of memory and swap together needs one of memory: give -m as well")
    if "Memory" in wanted and "MemorySwap" not in wanted and wanted["Memory"] > swap:
        raise Conflict(
            "Memory limit should be smaller than already set memoryswap limit, "
            "update the memoryswap at the same time"
        )
    for field, words in (("CpuPeriod", "CPU Period"), ("CpuQuota", "CPU Quota")):
        if wanted.get("NanoCpus") and now.get(field):
            raise Conflict(
                f"Conflicting options: Nano CPUs cannot be updated as {words} has already been set"
            )
        if wanted.get(field) and now.get("NanoCpus"):
            raise Conflict(
                f"Conflicting options: {words} cannot be updated as NanoCPUs has already been set"
            )


def _apply(container: Container, wanted: dict[str, Any]) -> None:
    """Tell the kernel; raises Conflict with what it refused."""
    fields = {name: wanted[name] for name in _CPU if name in wanted}
    fields["MemoryReservation"] = wanted.get("MemoryReservation")
    if "Memory" in wanted or "MemorySwap" in wanted:
        for name in ("Memory", "MemorySwap"):
            fields[name] = wanted.get(name) or container.host_config.get(name)
    limits = resources(fields, limits_swap=cgroup.supports_swap_limit())
    if "PidsLimit" in wanted:
        limits["pids"] = {"limit": wanted["PidsLimit"] or -1}
    if weights := block_io(wanted):
        limits["blockIO"] = weights
    if not limits:
        return
    try:
        with recording_to(container.paths):
            cgroup_of(container.store, container.id).apply(limits)
    except MinidockError as error:
        raise Conflict(str(error)) from None
