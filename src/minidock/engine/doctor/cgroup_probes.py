"""Probe of the cgroups: creates an empty one, sets each limit on it, and removes it.

It is created where `run` creates its own. On cgroup v2 this may enable a controller, and move
processes to a leaf; both are undone afterwards. The probe requests no unit from systemd: if there
is none for minidock yet, it uses the root of the tree.
Sources: those of kernel/cgroup.py and kernel/cgroup_delegation.py.
"""

from __future__ import annotations

import os
from typing import NoReturn

from minidock.engine.doctor.child_probe import Tried
from minidock.errors import KernelError
from minidock.kernel import cgroup, cgroup_tree, device_cgroup, namespace
from minidock.kernel.cgroup_delegation import LEAF
from minidock.paths import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.document_types.runtime_spec import BlockDevice, Resources

_MEMORY = 64 << 20


def limits(_: Store, tried: Tried) -> None:
    """Set each limit on a new cgroup, and clone a process into it."""
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
        found.restore()


def _place() -> str:
    """Return a parent for the probe's cgroup, beside those of containers."""
    name = f"minidock-doctor-{os.getpid()}"
    parent = cgroup_tree.home_of(name)
    if cgroup_tree.takes_slices() and not os.path.isdir(f"{cgroup.ROOT}/{os.path.dirname(parent)}"):
        return name
    return parent


class _AsFound:
    """Changes of the parents of a new cgroup in the v2 tree, to be undone.

    home: the path below which it is created, "" for the root.
    """

    def __init__(self, home: str) -> None:
        self._home = f"{cgroup.ROOT}/{home}".rstrip("/")
        self._had_leaf = os.path.isdir(f"{self._home}/{LEAF}")
        self._before = {d: self._enabled(d) for d in dict.fromkeys((self._home, cgroup.ROOT))}

    def restore(self) -> None:
        """Undo them, except what a container needs by now (EBUSY)."""
        for directory, before in self._before.items():
            for controller in self._enabled(directory) - before:
                self._try_write(f"{directory}/cgroup.subtree_control", f"-{controller}")
        leaf = f"{self._home}/{LEAF}"
        if cgroup.is_v2() and not self._had_leaf and os.path.isdir(leaf):
            for pid in cgroup.pids_of(leaf):
                self._try_write(f"{self._home}/cgroup.procs", str(pid))
            cgroup_tree.open_cgroup("", leaf.removeprefix(f"{cgroup.ROOT}/")).remove()

    @staticmethod
    def _enabled(directory: str) -> set[str]:
        if not cgroup.is_v2():
            return set()
        return set(cgroup.read_file(f"{directory}/cgroup.subtree_control").split())

    @staticmethod
    def _try_write(path: str, value: str) -> None:
        """Write a value, ignoring errors."""
        try:
            cgroup.write_file(path, value)
        except KernelError:
            return


def _try_each(group: cgroup.Cgroup, tried: Tried) -> None:
    for part, resources in _limits().items():
        with tried(part):
            group.apply(resources)
    with tried("enter"):
        _visit(group)
    with tried("freeze"):
        group.freeze()
        group.thaw()
    with tried("kill"):
        group.kill_all()


def _limits() -> dict[str, Resources]:
    """Return each limit -> linux.resources that sets it."""
    some_cpu = str(min(os.sched_getaffinity(0)))
    resources_of: dict[str, Resources] = {
        "devices": {"devices": device_cgroup.DOCKER_RULES},
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
        resources_of["io"] = {"blockIO": {"throttleReadBpsDevice": [rate]}}
    return resources_of


def _some_disk() -> tuple[int, int] | None:
    for name in sorted(os.listdir("/sys/block") if os.path.isdir("/sys/block") else []):
        if name.startswith(("loop", "ram", "zram")):
            continue
        with open(f"/sys/block/{name}/dev", encoding="ascii") as file:
            major, minor = file.read().split(":")
        return int(major), int(minor)
    return None


def _visit(group: cgroup.Cgroup) -> None:
    """Clone a process into the cgroup and let it join, as for init."""
    cgroup_fd = group.fd_for_clone()

    def child() -> NoReturn:
        group.join(cloned_inside=cgroup_fd is not None)
        os._exit(0)

    try:
        pid = namespace.clone_process([], child, cgroup_fd=cgroup_fd, as_sibling=False)
        if os.waitpid(pid, 0)[1]:
            raise OSError("a process cannot join a cgroup that it may create")
    finally:
        if cgroup_fd is not None:
            os.close(cgroup_fd)
