"""cgroup v2: one tree for all controllers; a container is one directory.

Two rules shape this module. A directory has the files of a controller only if its parent's
cgroup.subtree_control names it, so `create` enables the controllers in every parent. And a
directory that enables controllers for its children must not contain processes ("no internal
processes"), so monitors are in a leaf of their own beside the containers. cgroup_delegation.py
finds the topmost of these parents and knows who owns the tree above it.

A path from a bundle or --cgroup-parent can be elsewhere, in a part of the tree that systemd
manages. systemd disables controllers at the root that none of its own units needs. The kernel
forbids that (EBUSY) while a cgroup below enables them itself, as the parent of a running container
does, so the limits stay. If it happens between two steps of `create`, the second one fails with
ENOENT and `create` starts again. Not covered: a cgroup right below the root of systemd's tree.

`limits` is a pure function from OCI's linux.resources to (file, value). OCI's numbers are those of
v1; where v2 uses other ones, the conversions are runc's: cpu.shares, block weights, and swap alone
instead of memory+swap. Device rules become an eBPF program: device_cgroup.py.

Not supported: memory.kernel and disableOOMKiller (v2 has neither), realtime CPU, network classes,
leaf weights.

Sources: the kernel's admin-guide/cgroup-v2.rst; OCI runtime-spec config-linux.md; crun's
"cgroup v1 to v2 conversion" table.
"""

from __future__ import annotations

import os
import time
from errno import ENOENT

from minidock.errors import KernelError, UsageError
from minidock.kernel import cgroup_delegation, device_cgroup
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
        HugepageLimit,
        Memory,
        NetworkResources,
        Pids,
        Resources,
        Throttle,
    )

    Limit = tuple[str, str]

CONTROLLERS = ("cpuset", "cpu", "io", "memory", "hugetlb", "pids")
_THROTTLES: dict[Throttle, str] = {
    "throttleReadBpsDevice": "rbps",
    "throttleWriteBpsDevice": "wbps",
    "throttleReadIOPSDevice": "riops",
    "throttleWriteIOPSDevice": "wiops",
}


class CgroupV2(Cgroup):
    """A cgroup in the v2 tree.

    tree: its mount point; tests pass a hybrid machine's.
    """

    def __init__(self, parent: str, name: str, *, tree: str = ROOT) -> None:
        super().__init__(parent, name)
        self._tree = tree
        self.directory = f"{tree}/{self.path}"

    def paths(self) -> dict[str, str]:
        return {"": self.directory}

    def fd_for_clone(self, *, beside: int | None = None) -> int | None:
        directory = self.directory
        if beside is not None and read_file(f"{directory}/cgroup.subtree_control"):
            place = cgroup_delegation.own_path(beside)
            if place.startswith(f"/{self.path}/"):
                directory = self._tree + place
        return os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def _create_once(self) -> None:
        above = self._make_ancestors()
        offered = read_file(f"{above[0]}/cgroup.controllers").split()
        wanted = [name for name in CONTROLLERS if name in offered]
        for parent in above:
            cgroup_delegation.enable_controllers(wanted, parent, move_out=parent == above[0])
        make_empty(self.directory)

    def _make_ancestors(self) -> list[str]:
        """Create the missing parents between home and this cgroup; returns all, top down."""
        home, below = cgroup_delegation.split(self.path)
        if not home:
            return make_ancestors(self._tree, self.path)
        cgroup_delegation.prepare(home)
        return make_ancestors(f"{self._tree}/{home}", below)

    def join(self, *, cloned_inside: bool = False) -> None:
        if not cloned_inside:
            write_file(f"{self.directory}/cgroup.procs", "0")

    def adopt_caller(self) -> None:
        if cgroup_delegation.own_path(os.getpid()) not in ("/", f"/{self.path}"):
            self._make_ancestors()
            create_or_find(self.directory)
            write_file(f"{self.directory}/cgroup.procs", "0")

    def apply(self, resources: Resources) -> None:
        check_resources(resources)
        for file, value in limits(resources):
            path = f"{self.directory}/{_existing(self.directory, file)}"
            try:
                write_file(path, value)
            except KernelError as error:
                # This kernel has no swap, so both "none" and "no limit" hold already.
                if file == "memory.swap.max" and error.errno == ENOENT and value in ("0", "max"):
                    continue
                raise
        if resources.get("devices"):
            program = device_cgroup.assemble(resources["devices"])
            device_cgroup.replace_program(self.directory, program)

    def _freeze_in_time(self, timeout_seconds: float) -> bool:
        deadline = time.monotonic() + timeout_seconds
        write_file(f"{self.directory}/cgroup.freeze", "1")
        while not read_table(f"{self.directory}/cgroup.events").get("frozen"):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.001)
        return True

    def thaw(self) -> None:
        write_file(f"{self.directory}/cgroup.freeze", "0")

    def frozen(self) -> bool:
        return read_file(f"{self.directory}/cgroup.freeze") == "1"

    def kill_all(self) -> None:
        if not self.pids():
            return
        try:
            write_file(f"{self.directory}/cgroup.kill", "1")
        except KernelError as error:
            if error.errno != ENOENT:  # before Linux 5.14
                raise
            self._freeze_and_kill()
            return
        if not self.wait_empty(1.0):
            self._freeze_and_kill()

    def oom_kills(self) -> int:
        return read_table(f"{self.directory}/memory.events").get("oom_kill", 0)

    def usage(self) -> dict[str, int]:
        at = self.directory
        cpu = read_table(f"{at}/cpu.stat")
        return {
            "memory_bytes": int(read_file(f"{at}/memory.current")),
            "memory_inactive_file_bytes": read_table(f"{at}/memory.stat")["inactive_file"],
            "memory_limit_bytes": _number(read_file(f"{at}/memory.max")),
            "pids": int(read_file(f"{at}/pids.current")),
            "pids_limit": _number(read_file(f"{at}/pids.max")),
            "cpu_ns": cpu["usage_usec"] * 1000,
            "cpu_user_ns": cpu["user_usec"] * 1000,
            "cpu_system_ns": cpu["system_usec"] * 1000,
        }

    def block_bytes(self) -> tuple[int, int]:
        """Parse lines such as "8:0 rbytes=4096 wbytes=0 …"; zero without the io controller."""
        totals = {"rbytes": 0, "wbytes": 0}
        if os.path.exists(f"{self.directory}/io.stat"):
            for word in read_file(f"{self.directory}/io.stat").split():
                name, _, count = word.partition("=")
                if name in totals:
                    totals[name] += int(count)
        return totals["rbytes"], totals["wbytes"]


# Limits ------------------------------------------------------------------------------------------


def limits(resources: Resources) -> list[Limit]:
    """Translate OCI's linux.resources to (file, value), in the order of writing.

    Zero means "not set" wherever a zero makes no sense, as in runc. "unified" comes last: the
    user's own values win. Devices are not included: they need a program, not a file.
    Raises UsageError for a limit that v2 does not have.
    """
    return [
        *_cpu(resources.get("cpu") or {}),
        *_memory(resources.get("memory") or {}),
        *_pids(resources.get("pids")),
        *_block_io(resources.get("blockIO") or {}),
        *_huge_pages(resources.get("hugepageLimits") or []),
        *_network(resources.get("network") or {}),
        *_unified(resources.get("unified") or {}),
    ]


def weight_from_shares(shares: int) -> int:
    """Convert v1's cpu.shares, 2 to 262144, to v2's cpu.weight, 1 to 10000 (1024 -> 39)."""
    return 1 + (shares - 2) * 9999 // 262142


def io_weight_from_block_weight(weight: int) -> int:
    """Convert v1's blkio.weight, 10 to 1000, to v2's io.weight, 1 to 10000."""
    return 1 + (weight - 10) * 9999 // 990


def _cpu(cpu: Cpu) -> list[Limit]:
    for name in ("realtimePeriod", "realtimeRuntime"):
        if cpu.get(name):
            raise UsageError(f"cpu {name} needs cgroup v1; this machine has v2")
    found = []
    shares = shares_of(cpu)
    if shares:
        found.append(("cpu.weight", str(weight_from_shares(shares))))
    if cpu.get("idle"):
        found.append(("cpu.idle", str(cpu["idle"])))
    quota, period = cpu.get("quota") or 0, cpu.get("period") or 0
    if quota or period:
        most = str(quota) if quota > 0 else "max"
        found.append(("cpu.max", f"{most} {period or 100000}"))
    if cpu.get("burst"):
        found.append(("cpu.max.burst", str(cpu["burst"])))
    lists = (("cpuset.cpus", cpu.get("cpus")), ("cpuset.mems", cpu.get("mems")))
    return found + [(file, value) for file, value in lists if value]


def _memory(memory: Memory) -> list[Limit]:
    for name in ("disableOOMKiller", "kernelTCP"):
        if memory.get(name):
            raise UsageError(f"memory {name} needs cgroup v1; this machine has v2")
    if memory.get("swappiness") not in (None, -1):
        raise UsageError("memory swappiness of one container needs cgroup v1; this machine has v2")
    limit = memory.get("limit") or 0
    found = []
    if swap := _swap_max(limit, memory.get("swap") or 0):
        found.append(("memory.swap.max", swap))
    if limit:
        found.append(("memory.max", str(limit) if limit > 0 else "max"))
    if memory.get("reservation"):
        reservation = memory["reservation"]
        found.append(("memory.low", str(reservation) if reservation > 0 else "max"))
    return found


def _swap_max(limit: int, swap: int) -> str:
    """Return v2's limit of swap alone, of OCI's of memory and swap together; "" for none given."""
    if swap == -1 or (limit == -1 and not swap):
        return "max"
    if not swap:
        return ""
    if limit <= 0:
        raise UsageError("unable to set swap limit without memory limit")
    if swap < limit:
        raise UsageError(f"memory+swap limit {swap} should be >= memory limit {limit}")
    return str(swap - limit)


def _pids(pids: Pids | None) -> list[Limit]:
    limit = pids.get("limit") or 0 if pids else 0
    return [("pids.max", str(limit) if limit > 0 else "max")] if limit else []


def _block_io(block_io: BlockIo) -> list[Limit]:
    found = []
    if block_io.get("leafWeight"):
        raise UsageError("blockIO leafWeight needs cgroup v1; this machine has v2")
    if block_io.get("weight"):
        found.append(("io.weight", str(io_weight_from_block_weight(block_io["weight"]))))
    for each in block_io.get("weightDevice") or []:
        weight = io_weight_from_block_weight(each["weight"])
        found.append(("io.weight", f"{each['major']}:{each['minor']} {weight}"))
    for name, key in _THROTTLES.items():
        for each in block_io.get(name) or []:
            found.append(("io.max", f"{each['major']}:{each['minor']} {key}={each['rate']}"))
    return found


def _huge_pages(huge: list[HugepageLimit]) -> list[Limit]:
    return [(f"hugetlb.{each['pageSize']}.max", str(each["limit"])) for each in huge]


def _network(network: NetworkResources) -> list[Limit]:
    for name in ("classID", "priorities"):
        if network.get(name):
            raise UsageError(f"network {name} needs cgroup v1; this machine has v2")
    return []


def _unified(unified: dict[str, str]) -> list[Limit]:
    for file in unified:
        if "/" in file or file in ("", ".", ".."):
            raise UsageError(f"unified resource {file!r} must be the name of one cgroup file")
        if file.startswith("cgroup."):
            raise UsageError(f"unified resource {file!r} is not a limit")
    return list(unified.items())


def _existing(directory: str, file: str) -> str:
    """Return the name of the weight's file, which is BFQ's own if io.cost is not built in."""
    if file == "io.weight" and not os.path.exists(f"{directory}/{file}"):
        return "io.bfq.weight"
    return file


def _number(text: str) -> int:
    return -1 if text == "max" else int(text)
