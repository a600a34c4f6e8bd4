"""The same linux.resources, set by runc and by us: the kernel's files read the same."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from minidock.kernel import cgroup, device
from minidock.kernel.cgroup import Cgroup, open_cgroup
from minidock.paths import Store

pytestmark = pytest.mark.root
MIB = 1 << 20

FILES = {
    "memory": ["memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.swappiness",
               "memory.soft_limit_in_bytes", "memory.oom_control", "memory.max", "memory.swap.max",
               "memory.low", "memory.high"],
    "cpu": ["cpu.shares", "cpu.cfs_quota_us", "cpu.cfs_period_us", "cpu.weight", "cpu.max"],
    "cpuset": ["cpuset.cpus", "cpuset.mems"],
    "pids": ["pids.max"],
    "blkio": ["blkio.throttle.read_bps_device", "blkio.throttle.write_iops_device", "io.max"],
    "devices": ["devices.list"],
}  # fmt: skip

RESOURCES: dict[str, dict[str, Any]] = {
    "nothing": {},
    "memory with swap": {"memory": {"limit": 100 * MIB + 5, "swap": 200 * MIB}},
    "memory without swap": {"memory": {"limit": 64 * MIB, "swap": 64 * MIB}},
    "memory, swap free": {"memory": {"limit": 64 * MIB, "swap": -1, "reservation": 32 * MIB}},
    "half a cpu": {"cpu": {"quota": 50000, "period": 100000, "shares": 300}},
    "longer period": {"cpu": {"quota": 250000, "period": 500000}},
    "one cpu": {"cpu": {"cpus": "1", "mems": "0"}},
    "pids": {"pids": {"limit": 17}},
    "pids unlimited": {"pids": {"limit": -1}},
    "docker's devices": {
        "devices": [
            {"allow": False, "access": "rwm"},
            {"allow": True, "type": "c", "major": 1, "minor": 5, "access": "rwm"},
            {"allow": True, "type": "c", "major": 5, "minor": 1, "access": "rwm"},
            {"allow": False, "type": "c", "major": 10, "minor": 229, "access": "rwm"},
        ]
    },
    "another device": {
        "devices": [
            {"allow": False, "access": "rwm"},
            {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"},
            {"allow": True, "type": "b", "major": 7, "access": "r"},
        ]
    },
}
V1_ONLY: dict[str, dict[str, Any]] = {
    "swappiness": {"memory": {"limit": 64 * MIB, "swappiness": 7}},
    "no OOM killer": {"memory": {"limit": 64 * MIB, "disableOOMKiller": True}},
}


@pytest.fixture
def group(store: Store) -> Iterator[Cgroup]:
    made = open_cgroup(store.cgroup_parent, "ours")
    made.create()
    yield made
    made.remove()
    cgroup.remove_parent(store.cgroup_parent)


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
    runc = [require("runc"), "--root", str(tmp_path / "state")]
    (tmp_path / "rootfs").mkdir()
    subprocess.run(["tar", "-xf", busybox_tar, "-C", tmp_path / "rootfs"], check=True)
    subprocess.run([*runc, "spec"], cwd=tmp_path, check=True)
    config = json.loads((tmp_path / "config.json").read_text())
    config["process"].update(terminal=False, args=["true"])
    config["linux"]["resources"] = resources
    config["linux"]["cgroupsPath"] = f"/{store.cgroup_parent}/theirs"
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
        theirs = values(open_cgroup(store.cgroup_parent, "theirs").paths())
        group.apply(device.with_runtime_rules(resources))
        ours = values(group.paths())
    finally:
        subprocess.run([*runc, "delete", "--force", container], check=True)
    assert ours == theirs
