"""Whether the directories that `run` writes to are writable: not read-only, not full.

The store, its directory in /run, and /proc/sys, each in this process's mount namespace; of several
mounts at one mount point only the last one is visible.

Sources: proc_pid_mountinfo(5), mount(8) "remount": without "bind" it makes both the mount and its
file system writable again.
"""

from __future__ import annotations

import shlex

from minidock.engine.doctor.finding import NEEDS_ROOT, OK, PROBLEM, UNKNOWN, Finding
from minidock.engine.doctor.host import inside_container
from minidock.engine.doctor.kernel import fix_for
from minidock.engine.doctor.machine import Machine

TOPIC = "Store"

_READ_ONLY = ("EROFS", "Read-only file system")
_FULL = ("ENOSPC", "No space left on device")


def findings(machine: Machine) -> list[Finding]:
    """Check whether the store and its directory in /run are writable."""
    root, store = machine.tell("store")
    answer = machine.try_out("places")
    if not answer:
        return [Finding(TOPIC, "writable", UNKNOWN, NEEDS_ROOT, can={"run": None})]
    found = []
    for part, path in (("store", store), ("run", "/run")):
        if reason := answer.get(part) or answer.get("probe"):
            seen = f"{path}: {reason.rpartition(': ')[2]}"
            fix = _fix(machine, path, reason)
            found.append(Finding(TOPIC, "writable", PROBLEM, seen, fix, {"run": False}))
    return found or [Finding(TOPIC, "writable", OK, f"{root} and /run")]


def mount_of(machine: Machine, path: str) -> tuple[str, str]:
    """Return the mount point and the type of a path's file system; ("/", "?") if unknown."""
    best, kind = "/", "?"
    for line in (machine.read("/proc/self/mountinfo") or "").splitlines():
        left, _, right = line.partition(" - ")
        fields = left.split(" ")
        if len(fields) < 5:
            continue
        point = fields[4].replace("\\040", " ")
        if len(point) >= len(best) and f"{path}/".startswith(f"{point.rstrip('/')}/"):
            best, kind = point, right.split(" ")[0]
    return best, kind


def is_read_only(reason: str) -> bool:
    """Whether a probe failed because of a read-only mount or file system."""
    return any(word in reason for word in _READ_ONLY)


def remount_fix(machine: Machine, path: str, options: str = "rw") -> str:
    """Return the command that remounts a path's mount with other options."""
    if inside_container(machine):
        return "docker run --privileged -v minidock:/var/lib/minidock …, without --read-only"
    return f"mount -o remount,{options} {shlex.quote(mount_of(machine, path)[0])}"


def _fix(machine: Machine, path: str, reason: str) -> str:
    point, kind = mount_of(machine, path)
    if is_read_only(reason):
        return remount_fix(machine, path)
    if any(word in reason for word in _FULL):
        if kind == "tmpfs":
            return remount_fix(machine, path, "size=50%,nr_inodes=1m")
        return f"free space on {point}: remove unused containers and images (minidock system prune)"
    return fix_for(machine, {"write": reason}, f"a writable file system at {point}")
