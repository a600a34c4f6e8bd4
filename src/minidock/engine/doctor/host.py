"""The host: kernel, Python, privileges, limits, and whether it is a container itself.

Sources: capabilities(7), proc_pid_status(5), systemd's "Container Interface" (/run/systemd/
container), Docker's /.dockerenv, Microsoft's WSL documentation.
"""

from __future__ import annotations

import re

from minidock.engine.doctor.finding import ARCHITECTURES, OK, PROBLEM, WARNING, Can, Finding
from minidock.engine.doctor.machine import Machine
from minidock.numerals import is_decimal

TOPIC = "Machine"

# No container starts without any one of these (found by dropping each in turn).
NEEDED = (
    "CAP_DAC_OVERRIDE", "CAP_SETGID", "CAP_SETPCAP", "CAP_NET_ADMIN", "CAP_SYS_PTRACE",
    "CAP_SYS_ADMIN", "CAP_MKNOD",
)  # fmt: skip
_OLDEST_PYTHON = (3, 11)
_FEW_FILES = 1024
_TOO_FEW_FILES = 24  # a container with a published port needs 21; each further port needs more


def findings(machine: Machine) -> list[Finding]:
    """Return the findings at the top of the report."""
    found = [_kernel(machine), _environment(machine), _privileges(machine), _python(machine)]
    return [*found, _open_files(machine)]


def inside_container(machine: Machine) -> str:
    """Return the kind of container that this process is in, such as "docker"; "" if none."""
    if kind := machine.read("/run/systemd/container"):
        return kind
    if machine.read("/run/.containerenv") is not None:
        return "podman"
    if machine.read("/.dockerenv") is not None:
        return "docker"
    environment = machine.read("/proc/1/environ") or ""
    named = re.search(r"(?:^|\0)container=([^\0]+)", environment)
    return named[1] if named else ""


def wsl(machine: Machine) -> int:
    """Return the version of the Windows Subsystem for Linux; 0 if it is not one."""
    release = machine.read("/proc/sys/kernel/osrelease") or ""
    if "microsoft" not in release.lower():
        return 0
    return 2 if re.search(r"WSL2|microsoft-standard", release) else 1


def _kernel(machine: Machine) -> Finding:
    release = machine.read("/proc/sys/kernel/osrelease") or "?"
    (architecture,) = machine.tell("architecture")
    seen = f"Linux {release}, {architecture}"
    if architecture not in ARCHITECTURES:
        fix = "use an x86_64 or aarch64 (arm64) machine: minidock supports no other"
        return Finding(TOPIC, "kernel", PROBLEM, seen, fix, {"run": False})
    return Finding(TOPIC, "kernel", OK, seen)


def _environment(machine: Machine) -> Finding:
    if wsl(machine) == 1:
        fix = "in Windows: wsl --set-version DISTRIBUTION 2"
        seen = "WSL 1, which has no Linux kernel"
        return Finding(TOPIC, "environment", PROBLEM, seen, fix, {"run": False})
    if wsl(machine) == 2:
        seen = "WSL 2: ports are published to Windows' localhost; the store must not be on /mnt/c"
        return Finding(TOPIC, "environment", OK, seen)
    if kind := inside_container(machine):
        seen = f"inside a container ({kind}), limited to what its engine allows"
        fix = "docker run --privileged -v minidock:/var/lib/minidock …; or use the VM: vagrant up"
        return Finding(TOPIC, "environment", WARNING, seen, fix)
    return Finding(TOPIC, "environment", OK, "not inside a container")


def capabilities(machine: Machine) -> set[str]:
    """Return the capabilities of this process."""
    from minidock.kernel.capability import names_of

    status = machine.read("/proc/self/status") or ""
    mask = re.search(r"^CapEff:\s*([0-9a-f]+)", status, re.MULTILINE)
    return set(names_of(int(mask[1], 16))) if mask else set()


def _privileges(machine: Machine) -> Finding:
    from minidock.kernel.capability import DOCKER_DEFAULT

    (user,) = machine.tell("user")
    if user != "0":
        fix = "sudo minidock doctor"
        return Finding(TOPIC, "privileges", PROBLEM, f"user {user}, not root", fix, {"run": False})
    have = capabilities(machine)
    own = [name for name in NEEDED if name not in have]
    theirs = [name for name in DOCKER_DEFAULT if name not in have]
    if own:
        seen = f"root without {' '.join(own)}"
        fix = "docker run --privileged …, or run minidock outside of a container"
        return Finding(TOPIC, "privileges", PROBLEM, seen, fix, {"run": False})
    if theirs:
        seen = f"root without {' '.join(theirs)}: containers cannot get them either"
        return Finding(TOPIC, "privileges", WARNING, seen, "docker run --privileged …")
    if "noroot" in machine.tell("securebits"):
        seen = "root with the securebit noroot: execve(2) gives root in a container no capabilities"
        return Finding(
            TOPIC, "privileges", WARNING, seen, "setpriv --securebits -noroot minidock …"
        )
    return Finding(TOPIC, "privileges", OK, "root, with all capabilities that containers need")


def _python(machine: Machine) -> Finding:
    (version,) = machine.tell("python")
    if tuple(map(int, version.split(".")[:2])) < _OLDEST_PYTHON:
        fix = "install with Python 3.11 or newer: PYTHON=/usr/bin/python3.11 ./install.sh"
        return Finding(TOPIC, "python", PROBLEM, f"Python {version}", fix, {"run": False})
    return Finding(TOPIC, "python", OK, f"Python {version}")


def _open_files(machine: Machine) -> Finding:
    limits = machine.read("/proc/self/limits") or ""
    line = re.search(r"^Max open files +(\S+) +(\S+)", limits, re.MULTILINE)
    soft, hard = (line[1], line[2]) if line else ("unlimited", "unlimited")
    seen = f"{soft} open files per process (hard limit: {hard})"
    if is_decimal(soft) and int(soft) < _FEW_FILES:
        fix = _raise_open_files(machine, hard)
        if int(soft) >= _TOO_FEW_FILES:
            return Finding(TOPIC, "open files", WARNING, seen, fix)
        can: Can = {"run": None, "network": None}
        return Finding(TOPIC, "open files", PROBLEM, f"{seen}: too few", fix, can)
    return Finding(TOPIC, "open files", OK, seen)


def _raise_open_files(machine: Machine, hard: str) -> str:
    """Return the fix: raising the hard limit needs CAP_SYS_RESOURCE (getrlimit(2))."""
    if not is_decimal(hard) or int(hard) >= _FEW_FILES:
        return f"ulimit -Sn {_FEW_FILES}"
    if "CAP_SYS_RESOURCE" in capabilities(machine):
        return f"ulimit -n {_FEW_FILES}"
    if inside_container(machine):
        return f"docker run --ulimit nofile={_FEW_FILES} …"
    return (
        "raise nofile in /etc/security/limits.conf (or LimitNOFILE= of a service) and log in again"
    )
