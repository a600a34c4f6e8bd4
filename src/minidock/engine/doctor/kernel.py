"""The kernel features that a container needs, each tested.

Versions only explain a failure, they never predict one: distributions patch their kernels.
Sources: the probes' (kernel_probes.py); docs/decisions/0005 for lowerdir+ (Linux 6.7).
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
from minidock.engine.doctor.host import NEEDED, capabilities, inside_container
from minidock.engine.doctor.machine import Machine

TOPIC = "Kernel"

_SINCE = {
    "openat2": "5.6",
    "clone3": "5.3",
    "pidfd_open": "5.3",
    "pidfd_send_signal": "5.1",
    "close_range": "5.11",
    "keyctl": "2.6",
}
_IN_STORE = ("filesystems", "seal", "seccomp")  # these probes write beside the store
_KINDS = ("mount", "uts", "ipc", "network", "pid", "cgroup")
_FILESYSTEMS = ("namespaces", "proc", "sysfs", "tmpfs", "devpts", "mqueue")
NEEDS_STORE = "not tested: the store is not writable (see Store)"
_REFUSED = ("EPERM", "EACCES", "not permitted", "Permission denied")


def findings(machine: Machine) -> list[Finding]:
    """Check the kernel's features for containers."""
    return [
        _tried(
            machine,
            "namespaces",
            "namespaces",
            _KINDS,
            "CONFIG_NAMESPACES and an option for each kind",
        ),
        _tried(machine, "calls", "system calls", tuple(_SINCE), _newest_call(machine)),
        _tried(machine, "filesystems", "file systems", _FILESYSTEMS, "these file systems"),
        _tried(machine, "seal", "sealed Python", ("clone",), "Linux 5.12 (mount_setattr)"),
        _tried(machine, "seccomp", "seccomp", ("filter",), "CONFIG_SECCOMP_FILTER"),
        _user_namespaces(machine),
    ]


def try_in_store(machine: Machine, probe: str) -> dict[str, str] | None:
    """Run a probe that writes beside the store; None if it cannot: not the kernel's fault."""
    return None if machine.try_out("places").get("store") else machine.try_out(probe)


def fix_for(machine: Machine, reasons: dict[str, str], otherwise: str) -> str:
    """Return the fix for a refusal: leave the container, load modules, or use another kernel.

    otherwise: what the kernel lacks.
    """
    if any(word in reason for reason in reasons.values() for word in _REFUSED):
        if inside_container(machine):
            return "restart this container with --privileged"
        if not capabilities(machine).issuperset(NEEDED):
            return "first give root the missing capabilities (see privileges)"
        return "check dmesg: a security module (AppArmor, SELinux, lockdown) may forbid it"
    release = machine.read("/proc/sys/kernel/osrelease") or ""
    if machine.names("/lib/modules") and machine.names(f"/lib/modules/{release}") is None:
        return f"reboot: a kernel upgrade removed the modules of the running kernel {release}"
    return f"use a kernel with {otherwise}"


def joined(reasons: dict[str, str]) -> str:
    """Join reasons to one text; parts with the same error are grouped."""
    said: dict[str, list[str]] = {}
    for part, reason in reasons.items():
        said.setdefault(reason.rpartition(": ")[2], []).append(part)
    return "; ".join(f"{', '.join(parts)}: {reasons[parts[0]]}" for parts in said.values())


def _tried(
    machine: Machine, probe: str, check: str, parts: tuple[str, ...], needed: str
) -> Finding:
    """Run a probe whose parts `run` needs all."""
    answer = try_in_store(machine, probe) if probe in _IN_STORE else machine.try_out(probe)
    if not answer:
        seen = NEEDS_STORE if answer is None else NEEDS_ROOT
        return Finding(TOPIC, check, UNKNOWN, seen, can={"run": None})
    if reasons := failed(answer, parts):
        fix = fix_for(machine, reasons, needed)
        return Finding(TOPIC, check, PROBLEM, joined(reasons), fix, {"run": False})
    return Finding(TOPIC, check, OK, "all work: " + " ".join(answer))


def _newest_call(machine: Machine) -> str:
    missing = failed(machine.try_out("calls"), _SINCE)
    newest = max((_SINCE.get(name, "0") for name in missing), key=_number, default="5.11")
    return f"Linux {newest} or newer"


def _number(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def _user_namespaces(machine: Machine) -> Finding:
    """Check user namespaces, which rootless engines and some exercises need, minidock does not."""
    check = "user namespaces"
    answer = machine.try_out("userns")
    if not answer:
        can: dict[str, bool | None] = {"userns": None, "unprivileged userns": None}
        return Finding(TOPIC, check, UNKNOWN, NEEDS_ROOT, can=can)
    reasons = failed(answer, ("root", "user", "capabilities"))
    can = {
        "userns": not answer.get("root"),
        "unprivileged userns": not failed(answer, ("user", "capabilities")),
    }
    if not reasons:
        return Finding(TOPIC, check, OK, "available to root and to other users", can=can)
    users = "not available" if "root" in reasons else "available to root only"
    seen = f"{users} ({joined(reasons)}); minidock does not need them"
    return Finding(TOPIC, check, WARNING, seen, _user_namespace_fix(machine, reasons), can)


def _user_namespace_fix(machine: Machine, reasons: dict[str, str]) -> str:
    if machine.read("/proc/sys/user/max_user_namespaces") == "0":
        return "sysctl -w user.max_user_namespaces=15000"
    if machine.read("/proc/sys/kernel/unprivileged_userns_clone") == "0":
        return "sysctl -w kernel.unprivileged_userns_clone=1"
    if machine.read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1":
        return "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
    return fix_for(machine, reasons, "CONFIG_USER_NS")
