"""OCI's linux.resources as the writes that put them in force, on cgroup v1 and v2."""

from __future__ import annotations

from typing import Any

import pytest

from minidock.errors import MinidockError, UsageError
from minidock.kernel import cgroup_limits, cgroup_tree, cgroup_v1, cgroup_v2

MIB = 1 << 20


def v1(resources: dict[str, Any], *, now: int = 0) -> list[str]:
    found = cgroup_v1.limits(resources, memory_limit_now=now)
    return [f"{file}={value}" for _, file, value in found]


def v2(resources: dict[str, Any]) -> list[str]:
    return [f"{file}={value}" for file, value in cgroup_v2.limits(resources)]


def test_nothing_asked_for_writes_nothing() -> None:
    assert v1({}) == v2({}) == []
    assert v1({"memory": {"disableOOMKiller": False}, "blockIO": {}}) == []


def test_v1_writes_memory_and_swap_in_the_order_the_kernel_accepts() -> None:
    both = {"memory": {"limit": 64 * MIB, "swap": 128 * MIB}}
    limit, total = f"memory.limit_in_bytes={64 * MIB}", f"memory.memsw.limit_in_bytes={128 * MIB}"
    assert v1(both, now=1 << 62) == [limit, total]  # from no limit downwards
    assert v1(both, now=32 * MIB) == [total, limit]  # upwards
    unlimited = {"memory": {"limit": MIB, "swap": -1}}
    assert v1(unlimited, now=1 << 62)[0] == "memory.memsw.limit_in_bytes=-1"


def test_no_memory_limit_means_no_swap_limit_either() -> None:
    assert v1({"memory": {"limit": -1}}) == [
        "memory.memsw.limit_in_bytes=-1",
        "memory.limit_in_bytes=-1",
    ]
    assert v2({"memory": {"limit": -1}}) == ["memory.swap.max=max", "memory.max=max"]


def test_v2_counts_swap_without_memory() -> None:
    assert v2({"memory": {"limit": 64 * MIB, "swap": 96 * MIB, "reservation": MIB}}) == [
        f"memory.swap.max={32 * MIB}",
        f"memory.max={64 * MIB}",
        f"memory.low={MIB}",
    ]
    assert v2({"memory": {"limit": MIB, "swap": MIB}})[0] == "memory.swap.max=0"


@pytest.mark.parametrize("memory", [{"swap": MIB}, {"limit": 2 * MIB, "swap": MIB}])
def test_v2_refuses_swap_that_contradicts_memory(memory: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="swap"):
        v2({"memory": memory})


@pytest.mark.parametrize(("shares", "weight"), [(2, 1), (512, 20), (1024, 39), (262144, 10000)])
def test_v2_weight_is_runcs_conversion_of_shares(shares: int, weight: int) -> None:
    assert v2({"cpu": {"shares": shares}}) == [f"cpu.weight={weight}"]
    assert v1({"cpu": {"shares": shares}}) == [f"cpu.shares={shares}"]


@pytest.mark.parametrize("shares", [1, 262145])
def test_shares_outside_the_kernels_bounds_are_refused(shares: int) -> None:
    for limits in (v1, v2):
        with pytest.raises(UsageError, match="allowed cpu-shares"):
            limits({"cpu": {"shares": shares}})


def test_cpu_quota_and_set() -> None:
    cpu = {"quota": 150000, "period": 100000, "cpus": "0-1", "mems": "0"}
    assert v1({"cpu": cpu}) == [
        "cpu.cfs_period_us=100000",
        "cpu.cfs_quota_us=150000",
        "cpuset.cpus=0-1",
        "cpuset.mems=0",
    ]
    assert v2({"cpu": cpu}) == ["cpu.max=150000 100000", "cpuset.cpus=0-1", "cpuset.mems=0"]
    assert v2({"cpu": {"quota": -1}}) == ["cpu.max=max 100000"]


def test_pids_limit() -> None:
    for limits in (v1, v2):
        assert limits({"pids": {"limit": 20}}) == ["pids.max=20"]
        assert limits({"pids": {"limit": -1}}) == ["pids.max=max"]
        assert limits({"pids": {"limit": 0}}) == []


def test_block_io() -> None:
    block_io = {
        "weight": 500,
        "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1048576}],
        "throttleWriteIOPSDevice": [{"major": 8, "minor": 0, "rate": 10}],
    }
    assert v1({"blockIO": block_io}) == [
        "blkio.weight=500",
        "blkio.throttle.read_bps_device=8:0 1048576",
        "blkio.throttle.write_iops_device=8:0 10",
    ]
    assert v2({"blockIO": block_io}) == [
        "io.weight=4950",
        "io.max=8:0 rbps=1048576",
        "io.max=8:0 wiops=10",
    ]


def test_huge_pages_and_unified() -> None:
    huge = {"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MIB}]}
    assert v1(huge) == [f"hugetlb.2MB.limit_in_bytes={4 * MIB}"]
    assert v2(huge) == [f"hugetlb.2MB.max={4 * MIB}"]
    assert v2({"unified": {"memory.high": "1M"}}) == ["memory.high=1M"]


@pytest.mark.parametrize("file", ["../x/pids.max", "cgroup.kill", "", ".."])
def test_unified_names_one_limit_of_this_cgroup(file: str) -> None:
    with pytest.raises(UsageError, match="unified"):
        v2({"unified": {file: "1"}})


@pytest.mark.parametrize(
    "resources",
    [
        {"rdma": {"mlx5": {"hcaHandles": 3}}},
        {"memory": {"kernel": 1}},
        {"pids": {"limits": 3}},
        {"cpu": {"share": 1}},
    ],
)
def test_an_unknown_limit_is_refused_by_its_name(resources: dict[str, Any]) -> None:
    group = next(iter(resources))
    with pytest.raises(UsageError, match=group):
        cgroup_limits.check_resources(resources)


@pytest.mark.parametrize(
    "resources",
    [
        {"memory": {"swappiness": 10}},
        {"memory": {"disableOOMKiller": True}},
        {"cpu": {"realtimeRuntime": 1}},
        {"network": {"classID": 1}},
        {"blockIO": {"leafWeight": 10}},
    ],
)
def test_v2_refuses_what_only_v1_has(resources: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="v1"):
        v2(resources)


def test_swappiness_has_a_range() -> None:
    assert v1({"memory": {"swappiness": 0}}) == ["memory.swappiness=0"]
    assert v1({"memory": {"swappiness": -1}}) == []
    with pytest.raises(UsageError, match="0-100"):
        v1({"memory": {"swappiness": 101}})


def test_a_cgroup_path_stays_in_its_tree() -> None:
    with pytest.raises(MinidockError, match="must not contain"):
        cgroup_tree.open_cgroup("minidock/../..", "x")


MOUNTINFO = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,release_agent=/x,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw shared:4 master:2 - cgroup2 cgroup2 rw,nsdelegate
99 31 0:32 / /elsewhere/memory rw,relatime - cgroup cgroup rw,memory
98 31 8:1 / /a/cgroup rw - ext4 /dev/sda1 rw
"""


def test_trees_are_found_where_they_are_mounted_alone_or_together() -> None:
    assert cgroup_v1.parse_mountinfo(MOUNTINFO) == {
        "cpu": "/sys/fs/cgroup/cpu,cpuacct",
        "cpuacct": "/sys/fs/cgroup/cpu,cpuacct",
        "memory": "/sys/fs/cgroup/memory",
        "name=systemd": "/sys/fs/cgroup/systemd",
        "": "/sys/fs/cgroup/unified",
    }
