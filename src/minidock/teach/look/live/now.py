"""What is true of a container now: read from /proc and its cgroup at each call, never remembered.

    processes   of its cgroup: both numbers (/proc/PID/status, NSpid), parent, name, state, memory
    gauges      memory, processes, CPU: used, and the limit that the cgroup has
    events      what the kernel counts: OOM kills, throttled periods
    sockets     that listen in its network namespace
    facts       namespaces, mounts, capabilities, filter, interfaces, limits (difference.py)

A process may end at any moment between two reads; what is gone is left out.

Sources: proc_pid_status(5), namespaces(7), proc_pid_mountinfo(5), cgroups(7), the kernel's
admin-guide/cgroup-v2 and cgroup-v1/memory, admin-guide/accounting/psi.
"""

from __future__ import annotations

import os
import re

from minidock.engine.container.cgroups import cgroup_of
from minidock.engine.container.stats import Sample
from minidock.errors import KernelError, MinidockError
from minidock.kernel.capability import names_of
from minidock.kernel.cgroup import read_file, read_table
from minidock.kernel.mountinfo import mount_points
from minidock.kernel.namespace import inode
from minidock.numerals import is_decimal
from minidock.teach.look.thing import NAMESPACES
from minidock.teach.ns.container_namespaces import network_devices
from minidock.teach.packet.listeners import listeners

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypedDict

    from minidock.engine.container.containers import Container

    class ProcessNow(TypedDict):
        """pid: on the host. inside: its number in its innermost PID namespace."""

        pid: int
        inside: int
        parent: int
        name: str
        state: str
        bytes: int

    class Gauge(TypedDict):
        """Units: bytes, processes, percent of one processor.

        used: None for the CPU: the reader computes it from two times of `cpu_ns`. limit: None for
        none.
        """

        name: str
        used: float | None
        limit: float | None

    class Facts(TypedDict):
        """namespaces: kind -> whether it is not minidock's own. limits: file -> content.

        inodes, host: kind of namespace, as a thing is called -> its inode, and minidock's own.
        """

        namespaces: dict[str, bool]
        inodes: dict[str, str]
        host: dict[str, str]
        mounts: list[str]
        capabilities: list[str]
        filters: int
        interfaces: list[str]
        limits: dict[str, str]

    class Now(TypedDict):
        """status: as docker inspect has it. The rest is empty unless the container runs.

        cpu_ns: CPU time used since its start. taken_ns: when, by the monotonic clock.
        """

        status: str
        cpu_ns: int
        taken_ns: int
        processes: list[ProcessNow]
        gauges: list[Gauge]
        events: dict[str, int]
        sockets: list[str]
        facts: Facts | None


PROCESSES_MOST = 200
_PRESSURE = re.compile(r"some avg10=([0-9.]+)")


def now_of(container: Container, limits: list[str]) -> Now:
    """Read what is true now. limits: the files of its cgroup to read for `facts`."""
    sample = Sample(container)
    now: Now = {
        "status": container.state["Status"], "cpu_ns": sample.cpu_ns,
        "taken_ns": int(sample.taken * 1e9), "processes": [], "gauges": [], "events": {},
        "sockets": [], "facts": None,
    }  # fmt: skip
    if not container.running or container.restarting:
        return now
    group = cgroup_of(container.store, container.id)
    pid = container.state["Pid"]
    directories = [path for path in group.paths().values() if os.path.isdir(path)]
    try:
        now["processes"] = _processes(group.pids())
        now["gauges"] = _gauges(sample, directories, group.usage())
        now["events"] = _events(directories, group.oom_kills())
        now["sockets"] = [
            f"{kind} {each.place} {each.process}".strip()
            for kind in ("tcp", "udp")
            for each in listeners(pid, kind)
        ]
        now["facts"] = _facts(pid, directories, limits)
    except (OSError, MinidockError):
        pass  # it is just ending: the next reading says so
    return now


def _processes(pids: list[int]) -> list[ProcessNow]:
    found = (_process(pid) for pid in sorted(pids)[:PROCESSES_MOST])
    return [each for each in found if each is not None]


def _process(pid: int) -> ProcessNow | None:
    fields = status_fields(pid)
    if not fields:
        return None
    return {
        "pid": pid,
        "inside": int(fields["NSpid"].split()[-1]),
        "parent": int(fields["PPid"]),
        "name": fields["Name"],
        "state": fields["State"],
        "bytes": 1024 * int(fields.get("VmRSS", "0").split()[0]),  # a zombie has none
    }


def status_fields(pid: int) -> dict[str, str]:
    """/proc/PID/status as a table; empty if the process is gone."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            pairs = (line.partition(":") for line in file)
            return {name: value.strip() for name, _, value in pairs}
    except (FileNotFoundError, ProcessLookupError):
        return {}


def _gauges(sample: Sample, directories: list[str], usage: dict[str, int]) -> list[Gauge]:
    """Memory, processes and CPU with their limits, then pressure where the kernel measures it."""
    memory, pids = usage["memory_limit_bytes"], usage["pids_limit"]
    gauges: list[Gauge] = [
        {"name": "memory", "used": sample.memory_bytes, "limit": memory if memory >= 0 else None},
        {"name": "pids", "used": sample.pids, "limit": pids if pids >= 0 else None},
        {"name": "cpu", "used": None, "limit": _cpu_limit(directories)},
    ]
    for kind in ("cpu", "memory", "io"):
        for directory in directories:
            text = _content(f"{directory}/{kind}.pressure")
            if text and (found := _PRESSURE.search(text)):
                name = f"{kind}_pressure"
                gauges.append({"name": name, "used": float(found[1]), "limit": 100.0})
    return gauges


def _cpu_limit(directories: list[str]) -> float | None:
    """Percent of one processor that the group may use; None for no limit."""
    for directory in directories:
        quota, _, period = (_content(f"{directory}/cpu.max") or "").partition(" ")
        if not quota:
            quota = _content(f"{directory}/cpu.cfs_quota_us") or ""
            period = _content(f"{directory}/cpu.cfs_period_us") or ""
        if is_decimal(quota) and is_decimal(period):
            return 100 * int(quota) / int(period)
    return None


def _events(directories: list[str], oom_kills: int) -> dict[str, int]:
    events = {"oom_kill": oom_kills}
    for directory in directories:
        if os.path.exists(f"{directory}/cpu.stat"):
            table = read_table(f"{directory}/cpu.stat")
            if "nr_throttled" in table:
                events["throttled"] = table["nr_throttled"]
    return events


def _facts(pid: int, directories: list[str], limits: list[str]) -> Facts:
    status = status_fields(pid)
    inodes = {word: inode(pid, word) for word in NAMESPACES}
    host = {word: inode(os.getpid(), word) for word in NAMESPACES}
    return {
        "namespaces": {word: inodes[word] != host[word] for word in NAMESPACES},
        "inodes": {NAMESPACES[word]: each for word, each in inodes.items()},
        "host": {NAMESPACES[word]: each for word, each in host.items()},
        "mounts": mount_points(pid),
        "capabilities": names_of(int(status["CapEff"], 16)),
        "filters": int(status.get("Seccomp_filters", status["Seccomp"])),
        "interfaces": network_devices(pid),
        "limits": _limits(directories, limits),
    }


def _limits(directories: list[str], files: list[str]) -> dict[str, str]:
    found = {}
    for file in files:
        for directory in directories:
            if (text := _content(f"{directory}/{file}")) is not None:
                found[file] = text
    return found


def _content(path: str) -> str | None:
    """A file of a cgroup; None if it does not exist here, or cannot be read."""
    try:
        return read_file(path)
    except KernelError:
        return None
