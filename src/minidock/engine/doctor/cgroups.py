"""Cgroups: which version this machine has, who manages it, and which limits can be set.

Sources: cgroups(7), cgroup-v2.rst, systemd's CGROUP_DELEGATION; kernel/cgroup.py for their use in
minidock.
"""

from __future__ import annotations

from minidock.engine.doctor.finding import (
    NEEDS_ROOT,
    OK,
    PROBLEM,
    UNKNOWN,
    WARNING,
    Finding,
    failed,
)
from minidock.engine.doctor.host import inside_container
from minidock.engine.doctor.kernel import fix_for, joined
from minidock.engine.doctor.machine import Machine

TOPIC = "Cgroups"

_ROOT = "/sys/fs/cgroup"
_ESSENTIAL = ("create", "enter", "devices", "kill")
# Limit -> its controller, in v1 and v2.
LIMITS = {
    "memory": ("memory", "memory"),
    "swap": ("memory", "memory"),
    "cpu": ("cpu", "cpu"),
    "cpu shares": ("cpu", "cpu"),
    "cpuset": ("cpuset", "cpuset"),
    "pids": ("pids", "pids"),
    "io": ("blkio", "io"),
    "io weight": ("blkio", "io"),
}


def findings(machine: Machine) -> list[Finding]:
    """Check the version, the creation of a cgroup, and each limit."""
    found = [_version(machine)]
    if found[0].verdict == PROBLEM:
        return found
    answer = machine.try_out("limits")
    if is_v2(machine):
        found.append(_delegation(machine))
    found.append(_creation(machine, answer))
    if found[-1].verdict != PROBLEM:
        found += _limits(machine, answer)
    return found


def is_v2(machine: Machine) -> bool:
    """Whether the v2 tree has the controllers."""
    return machine.read(f"{_ROOT}/cgroup.controllers") is not None


def _version(machine: Machine) -> Finding:
    mounted = machine.read("/proc/self/mountinfo") or ""
    manager = "managed by systemd" if machine.names("/run/systemd/system") is not None else ""
    if is_v2(machine):
        return Finding(TOPIC, "version", OK, ", ".join(filter(None, ("cgroup v2", manager))))
    if " - cgroup " not in mounted:
        fix = "mount -t cgroup2 cgroup2 /sys/fs/cgroup"
        return Finding(
            TOPIC, "version", PROBLEM, "no cgroup file system is mounted", fix, {"run": False}
        )
    hybrid = " - cgroup2 " in mounted
    kind = "cgroup v1, and a v2 tree without controllers (hybrid)" if hybrid else "cgroup v1"
    return Finding(TOPIC, "version", OK, ", ".join(filter(None, (kind, manager))))


def _delegation(machine: Machine) -> Finding:
    """Check v2's controllers: available at the root, and enabled for its children."""
    offered = (machine.read(f"{_ROOT}/cgroup.controllers") or "").split()
    handed = (machine.read(f"{_ROOT}/cgroup.subtree_control") or "").split()
    wanted = ("hugetlb", *(v2 for _, v2 in LIMITS.values()))
    later = [name for name in offered if name in wanted and name not in handed]
    seen = f"enabled: {' '.join(handed) or 'none'}"
    if later:
        seen += f"; the first container also enables {' '.join(later)}"
    missing = [v2 for _, v2 in LIMITS.values() if v2 not in offered]
    if missing:
        absent = " ".join(dict.fromkeys(missing))
        fix = f"boot with cgroup_enable={absent.split()[0]} (see /proc/cmdline for cgroup_disable)"
        if inside_container(machine):
            fix = "restart this container with --privileged"
        return Finding(TOPIC, "controllers", WARNING, f"not available: {absent}; {seen}", fix)
    return Finding(TOPIC, "controllers", OK, seen)


def _creation(machine: Machine, answer: dict[str, str]) -> Finding:
    if not answer:
        return Finding(TOPIC, "creation", UNKNOWN, NEEDS_ROOT, can={"run": None})
    reasons = failed(answer, _ESSENTIAL)
    if not reasons:
        can: dict[str, bool | None] = {"devices": True, "pause": not answer.get("freeze")}
        if answer.get("freeze"):
            fix = "mount -t cgroup -o freezer freezer /sys/fs/cgroup/freezer"
            seen = f"created, but cannot be frozen ({answer['freeze']}): `pause` fails"
            return Finding(TOPIC, "creation", WARNING, seen, fix, can)
        return Finding(
            TOPIC,
            "creation",
            OK,
            "created, entered, frozen, killed; device access restricted",
            can=can,
        )
    said = joined(reasons)
    if "EROFS" in said or "Read-only" in said:
        fix = "mount -o remount,rw /sys/fs/cgroup; in a container: docker run --privileged …"
    elif "subtree_control" in said and "EBUSY" in said:
        fix = (
            f"mkdir {_ROOT}/init; xargs -rn1 <{_ROOT}/cgroup.procs >{_ROOT}/init/cgroup.procs "
            "(v2 allows processes only in leaf cgroups)"
        )
    else:
        fix = fix_for(machine, reasons, "the devices controller (v1) or CONFIG_CGROUP_BPF (v2)")
    return Finding(TOPIC, "creation", PROBLEM, said, fix, {"run": False})


def _limits(machine: Machine, answer: dict[str, str]) -> list[Finding]:
    """Return one line for all limits that work, and one for each that does not."""
    if not answer:
        can: dict[str, bool | None] = dict.fromkeys(LIMITS)
        return [Finding(TOPIC, "limits", UNKNOWN, NEEDS_ROOT, can=can)]
    working = [name for name in LIMITS if answer.get(name) == ""]
    found = []
    if working:
        seen = ", ".join(working)
        found.append(Finding(TOPIC, "limits", OK, seen, can=dict.fromkeys(working, True)))
    for name, reason in answer.items():
        if name in LIMITS and reason:
            fix = _limit_fix(machine, name)
            seen = f"{name} cannot be limited: {reason}"
            found.append(Finding(TOPIC, "limits", WARNING, seen, fix, {name: False}))
    return found


def _limit_fix(machine: Machine, name: str) -> str:
    v1, v2 = LIMITS[name]
    if name == "swap":
        return "boot with swapaccount=1"
    if name == "io weight":
        return "modprobe bfq; echo bfq > /sys/block/DISK/queue/scheduler"
    if name == "memory":
        return "boot with cgroup_enable=memory"
    if is_v2(machine):
        return f"boot without cgroup_disable={v2}; {_ROOT}/cgroup.controllers must list {v2}"
    return f"mkdir {_ROOT}/{v1}; mount -t cgroup -o {v1} {v1} {_ROOT}/{v1}"
