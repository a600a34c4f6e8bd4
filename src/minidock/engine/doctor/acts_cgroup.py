"""Probe of the cgroups: an empty one is made, each limit is set on it, and it is removed again.

On cgroup v2 the root may have to hand a controller down for that; what it did not hand down before
is taken back afterwards.
Sources: those of kernel/cgroup.py.
"""

from __future__ import annotations

import os
from typing import Any, NoReturn

from minidock.engine.doctor.probes import Tried
from minidock.kernel import cgroup, device, namespace
from minidock.paths import Store

_MEMORY = 64 << 20


def limits(_: Store, tried: Tried) -> None:
    """Each limit that a container may get, on a cgroup of its own; and a process born inside."""
    parent = f"minidock-doctor-{os.getpid()}"
    before = _handed_down()
    try:
        with tried("create"):
            group = cgroup.open_cgroup(parent, "try")
            group.create()
        if tried.works("create"):
            _try_each(group, tried)
            group.remove()
    finally:
        cgroup.remove_parent(parent)
        for controller in _handed_down() - before:
            with tried("leave as found"):
                cgroup.write_file(f"{cgroup.ROOT}/cgroup.subtree_control", f"-{controller}")
    tried.parts.pop("leave as found", None)  # EBUSY: a container needs it meanwhile


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


def _wishes() -> dict[str, dict[str, Any]]:
    """Limit -> linux.resources that asks for it."""
    some_cpu = str(min(os.sched_getaffinity(0)))
    wishes: dict[str, dict[str, Any]] = {
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
        rate = {"major": major, "minor": minor, "rate": 1 << 30}
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
        group.join(born_inside=born_in is not None)
        os._exit(0)

    try:
        pid = namespace.clone_process([], child, cgroup_fd=born_in, as_sibling=False)
        if os.waitpid(pid, 0)[1]:
            raise OSError("a process cannot enter a cgroup that it may make")
    finally:
        if born_in is not None:
            os.close(born_in)


def _handed_down() -> set[str]:
    if not cgroup.is_v2():
        return set()
    return set(cgroup.read_file(f"{cgroup.ROOT}/cgroup.subtree_control").split())
