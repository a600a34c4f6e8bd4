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
NEEDS_STORE = "only a store that can be written tells (see below)"
_REFUSED = ("EPERM", "EACCES", "not permitted", "Permission denied")


def findings(machine: Machine) -> list[Finding]:
    """Check the kernel's features for containers."""
    return [
        _tried(machine, "namespaces", "namespaces", _KINDS, "CONFIG_NAMESPACES and its kinds"),
        _tried(machine, "calls", "system calls", tuple(_SINCE), _newest_call(machine)),
        _tried(machine, "filesystems", "file systems", _FILESYSTEMS, "these in the kernel"),
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
            return "start the container that this is with --privileged"
        if not capabilities(machine).issuperset(NEEDED):
            return "the rights that root lacks here (see above) come first"
        return "see dmesg: a security module (AppArmor, SELinux, lockdown) may forbid it"
    release = machine.read("/proc/sys/kernel/osrelease") or ""
    if machine.names("/lib/modules") and machine.names(f"/lib/modules/{release}") is None:
        return f"reboot: the modules of the running kernel {release} are gone (it was upgraded)"
    return f"a kernel with {otherwise}"


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
        can: dict[str, bool | None] = {"userns": None, "userns of users": None}
        return Finding(TOPIC, check, UNKNOWN, NEEDS_ROOT, can=can)
    reasons = failed(answer, ("root", "user", "rights"))
    can = {
        "userns": not answer.get("root"),
        "userns of users": not failed(answer, ("user", "rights")),
    }
    if not reasons:
        return Finding(TOPIC, check, OK, "for root and for users", can=can)
    who = "nobody" if "root" in reasons else "root only"
    seen = f"for {who} ({joined(reasons)}); minidock does not need them"
    return Finding(TOPIC, check, WARNING, seen, _user_namespace_fix(machine, reasons), can)


def _user_namespace_fix(machine: Machine, reasons: dict[str, str]) -> str:
    if machine.read("/proc/sys/user/max_user_namespaces") == "0":
        return "sysctl -w user.max_user_namespaces=15000"
    if machine.read("/proc/sys/kernel/unprivileged_userns_clone") == "0":
        return "sysctl -w kernel.unprivileged_userns_clone=1"
    if machine.read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1":
        return "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
    return fix_for(machine, reasons, "CONFIG_USER_NS")
