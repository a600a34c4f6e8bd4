"""A container's cgroup: the path for the next start, the current path, and block I/O limits.

Each start determines the path from --cgroup-parent and from this machine's cgroup tree
(kernel/cgroup_delegation.py). The runtime records the path before it creates the cgroup; so later
commands find it, even from a part of the tree where they would determine another path.

Source: Docker's "--cgroup-parent", with the cgroupfs driver and with the systemd driver, and its
"--blkio-weight", "--device-read-bps", …; OCI runtime-spec config-linux "Block IO".
"""

from __future__ import annotations

import os

from minidock.document import report_skipped
from minidock.errors import DamagedFile, DeviceNotFound, NotFound, UsageError
from minidock.kernel import cgroup, cgroup_tree
from minidock.kernel.cgroup import Cgroup
from minidock.kernel.cgroup_tree import open_cgroup
from minidock.paths import Store
from minidock.runtime import state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.document_types.host_config import (
        HostConfig,
        ThrottleDevice,
        ThrottleField,
        WeightDevice,
    )
    from minidock.document_types.runtime_spec import BlockDevice, BlockIo, Throttle
    from minidock.engine.container.containers import Container


def new_cgroup_path(container: Container) -> str:
    """Return linux.cgroupsPath for the container's next start."""
    return f"/{_parent(container)}/{container.id}"


def _parent(container: Container) -> str:
    ours = container.store.cgroup_parent
    asked = container.host_config.get("CgroupParent") or ""
    if not asked:
        return cgroup_tree.home_of(ours)
    if cgroup_tree.takes_slices():
        return cgroup_tree.home_of(ours, slice_name=asked)
    return asked.strip("/") if asked.startswith("/") else cgroup_tree.home_of(asked.strip("/"))


def check_cgroup_parent(asked: str) -> None:
    """Refuse a --cgroup-parent that is invalid on this machine.

    Raises UsageError; if systemd owns the tree, with the message of Docker's systemd driver.
    """
    if ".." in asked.split("/") or "\0" in asked:
        raise UsageError(f"cgroup-parent {asked!r} must not contain '..'")
    if asked and cgroup_tree.takes_slices():
        from minidock.kernel.systemd import slice_path

        slice_path(asked)


def cgroup_of(store: Store, container_id: str) -> Cgroup:
    """Return the cgroup of a container's run, which may no longer exist."""
    try:
        return state.load(store.run, container_id).cgroup
    except NotFound:  # nothing was created since the last reboot
        return open_cgroup(store.cgroup_parent, container_id)
    except DamagedFile as error:
        report_skipped(error)
        parent = cgroup.parent_of(container_id)
        return open_cgroup(store.cgroup_parent if parent is None else parent, container_id)


def block_io(host: HostConfig) -> BlockIo:
    """Translate Docker's HostConfig to OCI's linux.resources.blockIO, with device numbers.

    Empty if nothing is requested. Raises DeviceNotFound for a missing path.
    """
    limits: BlockIo = {}
    if host.get("BlkioWeight"):
        limits["weight"] = host["BlkioWeight"]
    if weights := host.get("BlkioWeightDevice"):
        limits["weightDevice"] = [_weighted(each) for each in weights]
    for field, throttle in _THROTTLES.items():
        if rates := host.get(field):
            limits[throttle] = [_throttled(each) for each in rates]
    return limits


_THROTTLES: dict[ThrottleField, Throttle] = {
    "BlkioDeviceReadBps": "throttleReadBpsDevice",
    "BlkioDeviceWriteBps": "throttleWriteBpsDevice",
    "BlkioDeviceReadIOps": "throttleReadIOPSDevice",
    "BlkioDeviceWriteIOps": "throttleWriteIOPSDevice",
}


def _weighted(limit: WeightDevice) -> BlockDevice:
    major, minor = _numbers_of(limit["Path"])
    return {"major": major, "minor": minor, "weight": limit["Weight"]}


def _throttled(limit: ThrottleDevice) -> BlockDevice:
    major, minor = _numbers_of(limit["Path"])
    return {"major": major, "minor": minor, "rate": limit["Rate"]}


def _numbers_of(path: str) -> tuple[int, int]:
    """Return the major and minor number of a device."""
    try:
        number = os.stat(path).st_rdev
    except OSError as error:
        words = (error.strerror or "").lower()
        raise DeviceNotFound(
            f"stat {path}: {words}", hint="lsblk lists the disks of this machine"
        ) from None
    return os.major(number), os.minor(number)
