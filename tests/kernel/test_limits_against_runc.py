"""The same linux.resources, set by runc and by us: the kernel's files read the same."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from minidock.kernel import cgroup, cgroup_tree, device_cgroup
from minidock.kernel.cgroup import Cgroup
from minidock.kernel.cgroup_tree import open_cgroup
from minidock.paths import Store
from support.machine import disk_of

pytestmark = pytest.mark.root
MIB = 1 << 20

FILES = {
    "memory": ["memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.swappiness",
               "memory.soft_limit_in_bytes", "memory.oom_control", "memory.max", "memory.swap.max",
               "memory.low", "memory.high"],
    "cpu": ["cpu.shares", "cpu.cfs_quota_us", "cpu.cfs_period_us", "cpu.weight", "cpu.max"],
    "cpuset": ["cpuset.cpus", "cpuset.mems"],
    "pids": ["pids.max"],
    "blkio": ["blkio.throttle.read_bps_device", "blkio.throttle.write_bps_device",
              "blkio.throttle.read_iops_device", "blkio.throttle.write_iops_device", "io.max"],
    "devices": ["devices.list"],
}  # fmt: skip

# Limits that do not touch each other are set together: each case costs a container of runc's.
RESOURCES: dict[str, dict[str, Any]] = {
    "nothing": {},
    "docker's devices, memory with swap, half a cpu": {
        "memory": {"limit": 100 * MIB + 5, "swap": 200 * MIB},
        "cpu": {"quota": 50000, "period": 100000, "shares": 300},
        "pids": {"limit": 17},
        "devices": [
            {"allow": False, "access": "rwm"},
            {"allow": True, "type": "c", "major": 1, "minor": 5, "access": "rwm"},
            {"allow": True, "type": "c", "major": 5, "minor": 1, "access": "rwm"},
            {"allow": False, "type": "c", "major": 10, "minor": 229, "access": "rwm"},
        ],
    },
    "other devices, memory without swap, one cpu": {
        "memory": {"limit": 64 * MIB, "swap": 64 * MIB},
        "cpu": {"quota": 250000, "period": 500000, "cpus": "1", "mems": "0", "shares": 2},
        "pids": {"limit": -1},
        "devices": [
            {"allow": False, "access": "rwm"},
            {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"},
            {"allow": True, "type": "b", "major": 7, "access": "r"},
        ],
    },
    "memory with swap free, reservation": {
        "memory": {"limit": 64 * MIB, "swap": -1, "reservation": 32 * MIB},
        "cpu": {"shares": 262144},
    },
    "a disk": {},  # its numbers are the machine's
}
V1_ONLY: dict[str, dict[str, Any]] = {
    "swappiness, no OOM killer": {
        "memory": {"limit": 64 * MIB, "swappiness": 7, "disableOOMKiller": True}
    },
}


def _of_a_disk(path: str) -> dict[str, Any]:
    disk = disk_of(path)
    if disk is None:
        pytest.skip("this kernel has no disk below the store's file system")
    at = {"major": disk.major, "minor": disk.minor}
    return {
        "blockIO": {
            "throttleReadBpsDevice": [{**at, "rate": 1 << 20}],
            "throttleWriteBpsDevice": [{**at, "rate": 3 << 20}],
            "throttleReadIOPSDevice": [{**at, "rate": 70}],
            "throttleWriteIOPSDevice": [{**at, "rate": 90}],
        }
    }


@pytest.fixture
def group(store: Store) -> Iterator[Cgroup]:
    made = open_cgroup(cgroup_tree.home_of(store.cgroup_parent), "ours")
    made.create()
    yield made
    made.remove()
    cgroup_tree.remove_parent(made.parent)


def values(paths: dict[str, str]) -> dict[str, str]:
    """What the kernel says in every file that exists."""
    found = {}
    for controller, files in FILES.items():
        directory = paths.get(controller) or paths.get("")
        for file in files:
            path = Path(f"{directory}/{file}")
            if path.exists():
                found[file] = "\n".join(sorted(path.read_text().split("\n")))
    return found


@pytest.mark.parametrize("name", [*RESOURCES, *V1_ONLY])
def test_the_kernel_reads_the_same(
    name: str,
    group: Cgroup,
    require: Callable[[str], str],
    busybox_tar: Path,
    tmp_path: Path,
    store: Store,
) -> None:
    if name in V1_ONLY and cgroup.is_v2():
        pytest.skip("this kernel has cgroup v2")
    resources = {**RESOURCES, **V1_ONLY}[name]
    if name == "a disk":
        resources = _of_a_disk(store.root)
    runc = [require("runc"), "--root", str(tmp_path / "state")]
    (tmp_path / "rootfs").mkdir()
    subprocess.run(["tar", "-xf", busybox_tar, "-C", tmp_path / "rootfs"], check=True)
    subprocess.run([*runc, "spec"], cwd=tmp_path, check=True)
    config = json.loads((tmp_path / "config.json").read_text())
    config["process"].update(terminal=False, args=["true"])
    config["linux"]["resources"] = resources
    config["linux"]["cgroupsPath"] = f"/{group.parent}/theirs"
    (tmp_path / "config.json").write_text(json.dumps(config))
    container = f"mdt-{os.getpid()}"
    subprocess.run(
        [*runc, "create", container],
        cwd=tmp_path,
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    try:
        theirs = values(open_cgroup(group.parent, "theirs").paths())
        group.apply(device_cgroup.with_runtime_rules(resources))
        ours = values(group.paths())
    finally:
        subprocess.run([*runc, "delete", "--force", container], check=True)
    assert ours == theirs
