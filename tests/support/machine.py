"""The machine as the kernel tells of it, before the tests and after: what is new was left behind.

Where other people's containers come and go on the same machine, MINIDOCK_SHARED_MACHINE=1 reports
only what names a store of this test run.
"""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
from pathlib import Path
from typing import NamedTuple

from support.patience import patience

Snapshot = dict[str, set[str]]

_ENGINES = re.compile(r"minidock|docker|libpod|podman|containerd|runc", re.IGNORECASE)


def mounts() -> set[str]:
    """Mounts as "MOUNTPOINT FSTYPE SOURCE ROOT"."""
    found = set()
    for line in Path("/proc/self/mountinfo").read_text(errors="replace").splitlines():
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        found.add(f"{fields[4]} {kind[0]} {kind[1]} {fields[3]}")
    return found


def unmount_below(*directories: str | Path) -> None:
    """Unmount all that is mounted at these directories or below them, the deepest first."""
    tops = tuple(str(directory) for directory in directories)
    for _ in range(3):  # a mount point may be covered more than once
        points = [mount.split(" ")[0] for mount in mounts()]
        ours = [p for p in points if p in tops or p.startswith(tuple(f"{top}/" for top in tops))]
        if not ours:
            return
        for point in sorted(ours, key=len, reverse=True):
            subprocess.run(["umount", "-l", point], capture_output=True, check=False)


def links() -> set[str]:
    """Names of the network links, and each bridge port's bridge."""
    found = set()
    for link in Path("/sys/class/net").iterdir():
        if link.is_symlink():  # bonding_masters is a file
            bridge = _bridge_of(link)
            found.add(link.name + (f" in {bridge}" if bridge else ""))
    return found


def _bridge_of(link: Path) -> str:
    try:
        return (link / "master").readlink().name
    except OSError:
        return ""  # it is in none, or has just gone


def firewall_rules() -> set[str]:
    """Chains that someone made, and all rules, as "COMMAND TABLE RULE"; counters left out."""
    found = set()
    for command in ("iptables", "ip6tables"):
        answer = subprocess.run([f"{command}-save"], capture_output=True, text=True, check=False)
        table = ""
        for line in answer.stdout.splitlines():
            chain = re.match(r":(\S+) (\S+)", line)
            if line.startswith("*"):
                table = line[1:]
            elif line.startswith("-A") or (chain and chain[2] == "-"):
                found.add(f"{command} {table} {line.split(' [')[0]}")
            elif chain and chain[2] != "ACCEPT":
                found.add(f"{command} {table} policy of {chain[1]}: {chain[2]}")
    return found


def cgroups() -> set[str]:
    """Directories below /sys/fs/cgroup that a container engine made."""
    return {
        where
        for where, _, _ in os.walk("/sys/fs/cgroup")
        if _ENGINES.search(where.removeprefix("/sys/fs/cgroup"))
    }


class Disk(NamedTuple):
    """A whole disk: /dev/NAME, and its numbers."""

    name: str
    major: int
    minor: int


def disk_of(path: str) -> Disk | None:
    """The disk that a file system is on; None where it has none, as a tmpfs."""
    number = os.stat(path).st_dev
    device = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}").resolve()
    if not device.exists():
        return None
    whole = device.parent if (device / "partition").exists() else device
    major, minor = (whole / "dev").read_text().strip().split(":")
    return Disk(whole.name, int(major), int(minor))


def stop_units(before: Snapshot) -> None:
    """Have systemd end the units that containers' cgroups were in, where the tests started them.

    A slice takes its units with it, and then systemctl knows no such unit (5): what has not ended
    is found among what is left behind.
    """
    new = [path for path in cgroups() - before["cgroup"] if re.search(r"/minidock[^/]*$", path)]
    units = [os.path.basename(path) for path in new if path.endswith((".service", ".slice"))]
    if units:
        subprocess.run(["systemctl", "stop", *units], timeout=patience(120))


def processes() -> set[str]:
    """Processes of container engines, as "PID STARTTIME COMMAND"; this one's family left out."""
    family = _ancestors(os.getpid())
    found = set()
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) in family:
            continue
        try:
            words = Path(f"/proc/{entry}/cmdline").read_bytes().replace(b"\0", b" ")
            command = words.decode(errors="replace")
            environ = Path(f"/proc/{entry}/environ").read_bytes()
            started = _stat(int(entry))[19]
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # it has ended meanwhile
        root = re.search(rb"MINIDOCK_ROOT=([^\0]*)", environ)
        if "pytest" in command or not (root or _ENGINES.search(command)):
            continue
        where = f" MINIDOCK_ROOT={root[1].decode(errors='replace')}" if root else ""
        found.add(f"{entry} {started} {command.strip()}{where}")
    return found


def kill_and_wait(pid: int) -> None:
    """Kill a process that is nobody's child here, and wait for its end: only then is it missed."""
    pidfd = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        ended, _, _ = select.select([pidfd], [], [], patience(10))
        assert ended, f"process {pid} does not die"
    finally:
        os.close(pidfd)


def runtime_files() -> set[str]:
    """Entries of /run, /run/netns and /var/lib that a container engine made.

    Not the lock that all stores of a machine share: it stays, or two would hold two of them.
    """
    found = set()
    for folder in ("/run", "/run/netns", "/var/lib"):
        if os.path.isdir(folder):
            found |= {f"{folder}/{n}" for n in os.listdir(folder) if _ENGINES.search(n)}
    if os.path.isdir("/run/netns"):
        found |= {f"/run/netns/{n}" for n in os.listdir("/run/netns")}
    return found - {"/run/minidock.lock"}


def settings() -> set[str]:
    """Kernel settings of the whole machine that containers' networks touch."""
    return {
        f"{path} = {Path(path).read_text().strip()}"
        for path in (
            "/proc/sys/net/ipv4/ip_forward",
            "/proc/sys/net/ipv4/conf/all/route_localnet",
            "/proc/sys/net/ipv4/conf/default/route_localnet",
        )
    }


def snapshot() -> Snapshot:
    """Everything above."""
    return {
        "mount": mounts(),
        "link": links(),
        "firewall rule": firewall_rules(),
        "cgroup": cgroups(),
        "process": processes(),
        "file": runtime_files(),
        "setting": settings(),
    }


def left_behind(before: Snapshot, after: Snapshot, marks: set[str] | None = None) -> list[str]:
    """What is there now and was not before, one line each.

    marks: report only what names one of these (on a machine that others use at the same time).
    """
    return [
        f"{kind}: {item}"
        for kind, items in after.items()
        for item in sorted(items - before[kind])
        if marks is None or any(mark in item for mark in marks)
    ]


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the third one on, the state (proc(5))."""
    text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    return text.rpartition(")")[2].split()


def _ancestors(pid: int) -> set[int]:
    family = set()
    while pid > 1:
        family.add(pid)
        pid = int(_stat(pid)[1])
    return family
