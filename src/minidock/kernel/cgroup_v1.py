"""cgroup v1: a container has one directory in each controller's own tree.

Each tree is a separate mount (memory, pids, ...). Some machines mount two controllers together
(cpu,cpuacct), and systemd's tree (name=systemd) has no controller at all. A container gets a
directory in every mounted tree, as with runc, so that none of its processes stays in the caller's
cgroup; on a hybrid machine that includes the v2 tree, which has no controller either.

`limits` is a pure function from OCI's linux.resources to (controller, file, value), in the order
that the kernel accepts; `CgroupV1.apply` writes them.

Not supported: memory.kernel (removed from Linux), rdma, and "unified", which is for v2.

Sources: the kernel's admin-guide/cgroup-v1/{cgroups,memory,cpusets,freezer-subsystem,pids,
blkio-controller}.rst and scheduler/sched-bwc.rst; OCI runtime-spec config-linux.md.
"""

from __future__ import annotations

import os
import time
from errno import EINVAL

from minidock.errors import KernelError, MinidockError, UsageError
from minidock.kernel import device_cgroup
from minidock.kernel.cgroup import (
    ROOT,
    Cgroup,
    create_or_find,
    make_ancestors,
    make_empty,
    read_file,
    read_table,
    write_file,
)
from minidock.kernel.cgroup_limits import check_resources, shares_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.document_types.runtime_spec import (
        BlockIo,
        Cpu,
        CpuNumber,
        HugepageLimit,
        Memory,
        NetworkResources,
        Pids,
        Resources,
        Throttle,
    )

    Limit = tuple[str, str, str]

_UNIFIED = ""  # the v2 tree's key in /proc/PID/cgroup, and in runc's state.json
_NO_LIMIT = 1 << 62  # a memory limit above this means none: PAGE_COUNTER_MAX in bytes
_THROTTLES: dict[Throttle, str] = {
    "throttleReadBpsDevice": "blkio.throttle.read_bps_device",
    "throttleWriteBpsDevice": "blkio.throttle.write_bps_device",
    "throttleReadIOPSDevice": "blkio.throttle.read_iops_device",
    "throttleWriteIOPSDevice": "blkio.throttle.write_iops_device",
}


class CgroupV1(Cgroup):
    """A cgroup in each of the v1 trees, and in the v2 tree of a hybrid machine."""

    def __init__(self, parent: str, name: str) -> None:
        super().__init__(parent, name)
        self._trees = trees()

    def paths(self) -> dict[str, str]:
        return {controller: f"{tree}/{self.path}" for controller, tree in self._trees.items()}

    def fd_for_clone(self, *, beside: int | None = None) -> int | None:
        if _UNIFIED not in self._trees:  # it enables no controllers, so any process may join
            return None
        return os.open(self.paths()[_UNIFIED], os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def _create_once(self) -> None:
        for tree in dict.fromkeys(self._trees.values()):
            self._create_in(tree)

    def _create_in(self, tree: str) -> None:
        above = make_ancestors(tree, self.path)
        directory = f"{tree}/{self.path}"
        make_empty(directory)
        if tree == self._trees.get("cpuset"):
            inherit_cpusets([*above, directory])

    def join(self, *, cloned_inside: bool = False) -> None:
        paths = self.paths()
        unified = paths.pop(_UNIFIED, None)
        for directory in dict.fromkeys(paths.values()):
            write_file(f"{directory}/tasks", "0")
        if unified and not cloned_inside:
            write_file(f"{unified}/cgroup.procs", "0")

    def adopt_caller(self) -> None:
        for controller, own in own_paths().items():
            tree = self._trees.get(controller)
            if tree is None or own in ("/", f"/{self.parent}"):
                continue
            above = make_ancestors(tree, self.path)  # v1 needs no leaf: the parent will do
            if controller == "cpuset":
                inherit_cpusets(above)
            file = "cgroup.procs" if controller == _UNIFIED else "tasks"
            write_file(f"{above[-1]}/{file}", "0")

    def apply(self, resources: Resources) -> None:
        check_resources(resources)
        if resources.get("unified"):
            raise UsageError("resources 'unified' needs cgroup v2; this machine has v1")
        paths = self.paths()
        memory = paths.get("memory")
        now = int(read_file(f"{memory}/memory.limit_in_bytes")) if _has(resources, "memory") else 0
        postponed: list[Limit] = []
        for controller, file, value in limits(resources, memory_limit_now=now):
            if controller not in paths:
                raise UsageError(
                    f"limit {file} cannot be set: the {controller} controller is not mounted here",
                    hint=f"mount -t cgroup -o {controller} {controller} {ROOT}/{controller}",
                )
            path = f"{paths[controller]}/{_existing(paths[controller], file)}"
            try:
                write_file(path, value)
            except KernelError as error:
                # If a parent has a quota, a shorter period needs the lower quota first.
                if file != "cpu.cfs_period_us" or error.errno != EINVAL:
                    raise
                postponed.append((controller, path, value))
        for _, path, value in postponed:
            write_file(path, value)

    def _freeze_in_time(self, timeout_seconds: float) -> bool:
        state = f"{self._freezer()}/freezer.state"
        deadline = time.monotonic() + timeout_seconds
        write_file(state, "FROZEN")
        while read_file(state) != "FROZEN":  # reading it also updates the state
            if time.monotonic() > deadline:
                return False
            time.sleep(0.001)
        return True

    def thaw(self) -> None:
        write_file(f"{self._freezer()}/freezer.state", "THAWED")

    def frozen(self) -> bool:
        directory = self.paths().get("freezer")  # not mounted: nothing is frozen
        return bool(directory) and read_file(f"{directory}/freezer.state") != "THAWED"

    def _freezer(self) -> str:
        try:
            return self.paths()["freezer"]
        except KeyError:
            raise MinidockError(
                "the freezer is not mounted: containers can be neither paused nor killed as one",
                hint=f"mount -t cgroup -o freezer freezer {ROOT}/freezer",
            ) from None

    def kill_all(self) -> None:
        if self.pids():
            if not os.path.isdir(self._freezer()):  # removed from that tree alone
                create_or_find(self._freezer())
            self._freeze_and_kill()

    def oom_kills(self) -> int:
        return read_table(f"{self.paths()['memory']}/memory.oom_control").get("oom_kill", 0)

    def usage(self) -> dict[str, int]:
        at = self.paths()
        memory_limit = int(read_file(f"{at['memory']}/memory.limit_in_bytes"))
        pids_limit = read_file(f"{at['pids']}/pids.max")
        inactive = read_table(f"{at['memory']}/memory.stat").get("total_inactive_file", 0)
        return {
            "memory_bytes": int(read_file(f"{at['memory']}/memory.usage_in_bytes")),
            "memory_inactive_file_bytes": inactive,
            "memory_limit_bytes": memory_limit if memory_limit < _NO_LIMIT else -1,
            "pids": int(read_file(f"{at['pids']}/pids.current")),
            "pids_limit": -1 if pids_limit == "max" else int(pids_limit),
            "cpu_ns": int(read_file(f"{at['cpuacct']}/cpuacct.usage")),
            "cpu_user_ns": int(read_file(f"{at['cpuacct']}/cpuacct.usage_user")),
            "cpu_system_ns": int(read_file(f"{at['cpuacct']}/cpuacct.usage_sys")),
        }

    def block_bytes(self) -> tuple[int, int]:
        """Parse lines such as "8:0 Read 4096"; zero if the kernel does not count here."""
        directory, totals = self.paths().get("blkio"), {"Read": 0, "Write": 0}
        file = f"{directory}/blkio.throttle.io_service_bytes_recursive"
        if directory and os.path.exists(file):
            for line in read_file(file).splitlines():
                words = line.split()
                if len(words) == 3 and words[1] in totals:
                    totals[words[1]] += int(words[2])
        return totals["Read"], totals["Write"]


# What is mounted where ---------------------------------------------------------------------------

_trees: dict[str, str] = {}


def trees() -> dict[str, str]:
    """Return each tree's mount point by its key: "memory", "name=systemd"; "" for a hybrid's v2.

    Raises MinidockError if no cgroup tree is mounted.
    """
    if not _trees:
        with open("/proc/self/mountinfo", "rb", buffering=0) as file:
            _trees.update(parse_mountinfo(file.read().decode()))
        if not _trees:
            raise MinidockError(
                "no cgroup file system is mounted",
                hint="mount -t cgroup2 cgroup2 /sys/fs/cgroup",
            )
    return dict(_trees)


def parse_mountinfo(text: str) -> dict[str, str]:
    """Parse the cgroup trees of a /proc/PID/mountinfo; the first mount of each counts (proc(5))."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        if not right.startswith("cgroup"):
            continue
        fstype, _, options = right.split(" ", 2)
        mount_point = left.split(" ")[4]
        if fstype == "cgroup2":
            found.setdefault(_UNIFIED, mount_point)
            continue
        for option in options.split(","):
            if option.startswith("name=") or option in _CONTROLLERS:
                found.setdefault(option, mount_point)
    return found


_CONTROLLERS = (
    "cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids",
    "net_cls", "net_prio", "perf_event", "hugetlb", "rdma", "misc",
)  # fmt: skip


def own_paths() -> dict[str, str]:
    """Return this process's path in each controller's tree; "" is the v2 tree (cgroups(7))."""
    found = {}
    for line in read_file("/proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        found.update(dict.fromkeys(controllers.split(","), path))
    return found


def inherit_cpusets(directories: list[str]) -> None:
    """Copy CPUs and memory nodes from parent to child: no process can join an empty cpuset."""
    for parent, child in zip(directories, directories[1:], strict=False):
        for file in ("cpuset.cpus", "cpuset.mems"):
            if not read_file(f"{child}/{file}"):
                write_file(f"{child}/{file}", read_file(f"{parent}/{file}"))


# Limits ------------------------------------------------------------------------------------------


def limits(resources: Resources, *, memory_limit_now: int = 0) -> list[Limit]:
    """Translate OCI's linux.resources to (controller, file, value), in the order of writing.

    memory_limit_now: the current memory.limit_in_bytes, which decides whether memory or memory+swap
    is written first. Zero means "not set" wherever a zero makes no sense, as in runc.
    Raises UsageError for a limit that v1 does not have.
    """
    return [
        *device_cgroup.v1_writes(resources.get("devices") or []),
        *_cpu(resources.get("cpu") or {}),
        *_cpuset(resources.get("cpu") or {}),
        *_memory(resources.get("memory") or {}, memory_limit_now),
        *_pids(resources.get("pids")),
        *_block_io(resources.get("blockIO") or {}),
        *_huge_pages(resources.get("hugepageLimits") or []),
        *_network(resources.get("network") or {}),
    ]


def _cpu(cpu: Cpu) -> list[Limit]:
    shares_of(cpu)
    files: dict[CpuNumber, str] = {
        "shares": "cpu.shares",
        "idle": "cpu.idle",
        "realtimePeriod": "cpu.rt_period_us",
        "realtimeRuntime": "cpu.rt_runtime_us",
        "period": "cpu.cfs_period_us",
        "quota": "cpu.cfs_quota_us",
        "burst": "cpu.cfs_burst_us",
    }
    return [("cpu", file, str(cpu[name])) for name, file in files.items() if cpu.get(name)]


def _cpuset(cpu: Cpu) -> list[Limit]:
    lists = (("cpuset.cpus", cpu.get("cpus")), ("cpuset.mems", cpu.get("mems")))
    return [("cpuset", file, value) for file, value in lists if value]


def _memory(memory: Memory, limit_now: int) -> list[Limit]:
    amounts = _memory_and_swap(memory.get("limit") or 0, memory.get("swap") or 0, limit_now)
    if memory.get("reservation"):
        amounts.append(("memory", "memory.soft_limit_in_bytes", str(memory["reservation"])))
    if memory.get("kernelTCP"):
        amounts.append(("memory", "memory.kmem.tcp.limit_in_bytes", str(memory["kernelTCP"])))
    if memory.get("disableOOMKiller"):
        amounts.append(("memory", "memory.oom_control", "1"))
    swappiness = memory.get("swappiness")
    if swappiness is not None and swappiness != -1:
        if not 0 <= swappiness <= 100:
            raise UsageError(
                f"invalid memory swappiness value: {swappiness} (valid range is 0-100)"
            )
        amounts.append(("memory", "memory.swappiness", str(swappiness)))
    return amounts


def _memory_and_swap(limit: int, swap: int, limit_now: int) -> list[Limit]:
    """Return the limits of memory, and of memory and swap together, in the order of writing."""
    if limit == -1 and not swap:
        swap = -1
    amounts = []
    if limit:
        amounts.append(("memory", "memory.limit_in_bytes", str(limit)))
    if swap:
        amounts.append(("memory", "memory.memsw.limit_in_bytes", str(swap)))
    # memory <= memory+swap must hold at any time: when both grow, the sum is written first.
    if limit and (swap == -1 or limit_now < swap):
        amounts.reverse()
    return amounts


def _pids(pids: Pids | None) -> list[Limit]:
    limit = pids.get("limit") or 0 if pids else 0
    return [("pids", "pids.max", str(limit) if limit > 0 else "max")] if limit else []


def _block_io(block_io: BlockIo) -> list[Limit]:
    found = []
    if block_io.get("weight"):
        found.append(("blkio", "blkio.weight", str(block_io["weight"])))
    if block_io.get("leafWeight"):
        found.append(("blkio", "blkio.leaf_weight", str(block_io["leafWeight"])))
    for each in block_io.get("weightDevice") or []:
        at = f"{each['major']}:{each['minor']}"
        if each.get("weight"):
            found.append(("blkio", "blkio.weight_device", f"{at} {each['weight']}"))
        if each.get("leafWeight"):
            found.append(("blkio", "blkio.leaf_weight_device", f"{at} {each['leafWeight']}"))
    for name, file in _THROTTLES.items():
        for each in block_io.get(name) or []:
            found.append(("blkio", file, f"{each['major']}:{each['minor']} {each['rate']}"))
    return found


def _huge_pages(huge: list[HugepageLimit]) -> list[Limit]:
    return [
        ("hugetlb", f"hugetlb.{each['pageSize']}.limit_in_bytes", str(each["limit"]))
        for each in huge
    ]


def _network(network: NetworkResources) -> list[Limit]:
    found = []
    if network.get("classID"):
        found.append(("net_cls", "net_cls.classid", str(network["classID"])))
    for each in network.get("priorities") or []:
        found.append(("net_prio", "net_prio.ifpriomap", f"{each['name']} {each['priority']}"))
    return found


def _existing(directory: str, file: str) -> str:
    """Return the name of a weight's file, which is another one if BFQ is the I/O scheduler."""
    if file.startswith("blkio.weight") and not os.path.exists(f"{directory}/{file}"):
        return file.replace("blkio.", "blkio.bfq.")
    return file


def _has(resources: Resources, name: str) -> bool:
    return bool(resources.get(name)) and "memory" in _trees
