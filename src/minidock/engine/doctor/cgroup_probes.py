"""Probe of the cgroups: an empty one is made, each limit is set on it, and it is removed again.

It is made where `run` makes its own. On cgroup v2 a controller may have to be handed down for that,
and processes may have to move to a leaf; both are taken back afterwards. Only systemd is not asked
for a unit: where it has not made one for minidock yet, the root of the tree is tried.
Sources: those of kernel/cgroup.py and kernel/cgroup_home.py.
"""

from __future__ import annotations

import os
from typing import NoReturn

from minidock.engine.doctor.child_probe import Tried
from minidock.errors import KernelError
from minidock.kernel import cgroup, cgroup_tree, device, namespace
from minidock.kernel.cgroup_home import LEAF
from minidock.paths import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.document_types.runtime_spec import BlockDevice, Resources

_MEMORY = 64 << 20


def limits(_: Store, tried: Tried) -> None:
    """Each limit that a container may get, on a cgroup of its own; and a process born inside."""
    with tried("create"):
        parent = _place()
        found = _AsFound(os.path.dirname(parent))
    if not tried.works("create"):
        return
    try:
        with tried("create"):
            group = cgroup_tree.open_cgroup(parent, "try")
            group.create()
        if tried.works("create"):
            _try_each(group, tried)
            group.remove()
    finally:
        cgroup_tree.remove_parent(parent)
        found.give_back()


def _place() -> str:
    """A parent for the probe's cgroup, beside those of containers."""
    name = f"minidock-doctor-{os.getpid()}"
    parent = cgroup_tree.home_of(name)
    if cgroup_tree.takes_slices() and not os.path.isdir(f"{cgroup.ROOT}/{os.path.dirname(parent)}"):
        return name
    return parent


class _AsFound:
    """What the making of a cgroup changes above it in the v2 tree, to be given back.

    home: the path below which it is made, "" for the root.
    """

    def __init__(self, home: str) -> None:
        self._home = f"{cgroup.ROOT}/{home}".rstrip("/")
        self._had_leaf = os.path.isdir(f"{self._home}/{LEAF}")
        self._handed = {d: self._handed_down(d) for d in dict.fromkeys((self._home, cgroup.ROOT))}

    def give_back(self) -> None:
        """Undo it, but for what a container needs by now (EBUSY)."""
        for directory, before in self._handed.items():
            for controller in self._handed_down(directory) - before:
                self._try_write(f"{directory}/cgroup.subtree_control", f"-{controller}")
        leaf = f"{self._home}/{LEAF}"
        if cgroup.is_v2() and not self._had_leaf and os.path.isdir(leaf):
            for pid in cgroup.pids_of(leaf):
                self._try_write(f"{self._home}/cgroup.procs", str(pid))
            cgroup_tree.open_cgroup("", leaf.removeprefix(f"{cgroup.ROOT}/")).remove()

    @staticmethod
    def _handed_down(directory: str) -> set[str]:
        if not cgroup.is_v2():
            return set()
        return set(cgroup.read_file(f"{directory}/cgroup.subtree_control").split())

    @staticmethod
    def _try_write(path: str, value: str) -> None:
        """Write a value; one that is refused here does not matter."""
        try:
            cgroup.write_file(path, value)
        except KernelError:
            return


def _try_each(group: cgroup.Cgroup, tried: Tried) -> None:
    for part, resources in _wishes().items():
        with tried(part):
            group.apply(resources)
    with tried("enter"):
        _visit(group)
    with tried("freeze"):
        group.freeze()
        group.thaw()
    with tried("kill"):
        group.kill_all()


def _wishes() -> dict[str, Resources]:
    """Limit -> linux.resources that asks for it."""
    some_cpu = str(min(os.sched_getaffinity(0)))
    wishes: dict[str, Resources] = {
        "devices": {"devices": device.DOCKER_RULES},
        "memory": {"memory": {"limit": _MEMORY}},
        "swap": {"memory": {"limit": _MEMORY, "swap": 2 * _MEMORY}},
        "cpu": {"cpu": {"quota": 50000, "period": 100000}},
        "cpu shares": {"cpu": {"shares": 512}},
        "cpuset": {"cpu": {"cpus": some_cpu}},
        "pids": {"pids": {"limit": 100}},
        "io weight": {"blockIO": {"weight": 100}},
    }
    if disk := _some_disk():
        major, minor = disk
        rate: BlockDevice = {"major": major, "minor": minor, "rate": 1 << 30}
        wishes["io"] = {"blockIO": {"throttleReadBpsDevice": [rate]}}
    return wishes


def _some_disk() -> tuple[int, int] | None:
    for name in sorted(os.listdir("/sys/block") if os.path.isdir("/sys/block") else []):
        if name.startswith(("loop", "ram", "zram")):
            continue
        with open(f"/sys/block/{name}/dev", encoding="ascii") as file:
            major, minor = file.read().split(":")
        return int(major), int(minor)
    return None


def _visit(group: cgroup.Cgroup) -> None:
    """A process is born in the cgroup and enters it, as init does."""
    born_in = group.fd_for_clone()

    def child() -> NoReturn:
        group.join(cloned_inside=born_in is not None)
        os._exit(0)

    try:
        pid = namespace.clone_process([], child, cgroup_fd=born_in, as_sibling=False)
        if os.waitpid(pid, 0)[1]:
            raise OSError("a process cannot enter a cgroup that it may make")
    finally:
        if born_in is not None:
            os.close(born_in)
