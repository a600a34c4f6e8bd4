"""`update`: change the limits and the restart policy of a container, running or stopped.

Only changed values are written: to the cgroup first, then to the document, so that a value that the
kernel rejects does not change the document. The monitor reads the restart policy when a run ends.

Source: Docker Engine API 1.45 ContainerUpdate; what docker 26.1 refuses, in its words.
"""

from __future__ import annotations

from minidock.document import without_empty
from minidock.engine.container.cgroups import block_io, cgroup_of
from minidock.engine.container.containers import Container
from minidock.engine.container.events import emit_container
from minidock.engine.container.lookup import wait_until_settled
from minidock.engine.container.restart_policy import check_policy, policy_of
from minidock.engine.store.journal import recording_to
from minidock.errors import Conflict, MinidockError
from minidock.kernel import cgroup
from minidock.oci.runtime_config import resources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from minidock.document_types.host_config import HostConfig
    from minidock.paths import Store


def update(store: Store, reference: str, changes: HostConfig) -> None:
    """Change a container's HostConfig. changes: its fields; 0 and "" leave a limit as it is.

    PidsLimit of 0 or less lifts that limit. Raises NotFound, and Conflict for values that
    contradict the container's, or that the kernel rejects.
    """
    container = wait_until_settled(store, reference)
    with container.editing():
        container.reload()
        values = without_empty(changes)
        if "PidsLimit" in changes:
            values["PidsLimit"] = max(changes["PidsLimit"] or 0, 0)
        try:
            _check(container.host_config, values)
            check_policy({**container.host_config, **values})
            if container.running and not container.restarting:
                _apply(container, values)
        except MinidockError as error:
            if isinstance(error, Conflict):
                raise Conflict(f"Cannot update container {container.id}: {error}") from None
            raise
        if "RestartPolicy" in values:
            policy = policy_of(values)
            values["RestartPolicy"] = {
                "Name": policy.name,
                "MaximumRetryCount": policy.maximum_retry_count,
            }
        container.host_config.update(values)
        container.save()
    emit_container(container, "update")


def _check(now: HostConfig, values: HostConfig) -> None:
    """Reject values that contradict the container's."""
    if "RestartPolicy" in values and now.get("AutoRemove"):
        raise Conflict(
            "Restart policy cannot be updated because AutoRemove is enabled for the container"
        )
    _check_memory(now, values)
    _check_cpu(now, values)


def _check_memory(now: HostConfig, values: HostConfig) -> None:
    swap = now.get("MemorySwap") or 0
    memory = values.get("Memory") or now.get("Memory") or 0
    if values.get("MemorySwap", 0) > 0 and not memory:
        raise Conflict("--memory-swap requires --memory")
    if "Memory" in values and "MemorySwap" not in values and values["Memory"] > swap:
        raise Conflict(
            "Memory limit should be smaller than already set memoryswap limit, "
            "update the memoryswap at the same time"
        )


def _check_cpu(now: HostConfig, values: HostConfig) -> None:
    """--cpus is a quota within a period: not both."""
    field: Literal["CpuPeriod", "CpuQuota"]
    for field, words in (("CpuPeriod", "CPU Period"), ("CpuQuota", "CPU Quota")):
        if values.get("NanoCpus") and now.get(field):
            raise Conflict(
                f"Conflicting options: Nano CPUs cannot be updated as {words} has already been set"
            )
        if values.get(field) and now.get("NanoCpus"):
            raise Conflict(
                f"Conflicting options: {words} cannot be updated as NanoCPUs has already been set"
            )


def _apply(container: Container, values: HostConfig) -> None:
    """Write the limits to the cgroup; raises Conflict with the kernel's error."""
    fields, now = values.copy(), container.host_config
    if "Memory" in values or "MemorySwap" in values:
        fields["Memory"] = values.get("Memory") or now.get("Memory") or 0
        fields["MemorySwap"] = values.get("MemorySwap") or now.get("MemorySwap") or 0
    limits = resources(fields, limits_swap=cgroup.supports_swap_limit())
    if "PidsLimit" in values:
        limits["pids"] = {"limit": values["PidsLimit"] or -1}
    if weights := block_io(values):
        limits["blockIO"] = weights
    if not limits:
        return
    try:
        with recording_to(container.paths):
            cgroup_of(container.store, container.id).apply(limits)
    except MinidockError as error:
        raise Conflict(str(error)) from None
