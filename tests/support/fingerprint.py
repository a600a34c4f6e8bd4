"""What the kernel says of a container: two that were made differently must look the same."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from minidock.paths import Store
from support import machine

LIMITS = (
    "memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.soft_limit_in_bytes",
    "pids.max", "cpu.shares", "cpu.cfs_quota_us", "cpu.cfs_period_us", "cpuset.cpus",
    "cpuset.mems", "devices.list", "memory.max", "memory.swap.max", "cpu.max", "cpu.weight",
    "cgroup.controllers",
)  # fmt: skip
SETTINGS = ("net/ipv4/ip_unprivileged_port_start", "net/ipv4/ping_group_range")


def fingerprint(store: Store, pid: int, names: dict[str, str]) -> dict[str, Any]:
    """What the kernel says of a container. names: what is this one's own -> what it is called."""

    def plain(text: str) -> str:
        for own in sorted(names, key=len, reverse=True):
            text = text.replace(own, names[own])
        return text

    def inside(*command: str, kind: str = "--net") -> str:
        enter = ["nsenter", f"--target={pid}", kind]
        return plain(subprocess.run([*enter, *command], capture_output=True, text=True).stdout)

    proc = Path(f"/proc/{pid}")
    status = dict(line.split(":\t", 1) for line in (proc / "status").read_text().splitlines())
    cgroup = (proc / "cgroup").read_text()
    kinds = os.listdir(proc / "ns")
    addresses = json.loads(inside("ip", "-j", "address"))
    found = {
        "mounts": [_mount(plain(x)) for x in (proc / "mountinfo").read_text().splitlines()],
        "cgroups": plain(cgroup).splitlines(),
        "limits": _limits(cgroup),
        "addresses": [
            [*map(link.get, ("ifname", "address", "flags", "mtu")), a["local"], a["prefixlen"]]
            for link in addresses
            for a in link["addr_info"]
        ],
        "routes": inside("ip", "route").splitlines(),
        "rules": sorted(
            plain(rule) for rule in machine.firewall_rules() if store.bridge in rule
        ),
        "cables": sorted(plain(x) for x in machine.links() if f" in {store.bridge}" in x),
        "hostname": inside("hostname", kind="--uts"),
        "domainname": inside("domainname", kind="--uts"),
        "status": {
            key: status[key]
            for key in ("Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb",
                        "NoNewPrivs", "NSpid", "NSsid")
        } | {"NSpid": status["NSpid"].split()[-1], "NSsid": status["NSsid"].split()[-1]},
        "rlimits": (proc / "limits").read_text(),
        "oom": (proc / "oom_score_adj").read_text(),
        "environment": sorted(plain((proc / "environ").read_text()).split("\0")),
        "command": plain((proc / "cmdline").read_text()),
        "directory": os.readlink(proc / "cwd"),
        "open": sorted(os.listdir(proc / "fd")),
        "namespaces": {k: os.readlink(proc / "ns" / k) == os.readlink(f"/proc/self/ns/{k}")
                       for k in kinds},
        "devices": _devices(proc / "root/dev"),
        "settings": [inside("cat", f"/proc/sys/{name}") for name in SETTINGS],
        "files": [
            plain((proc / "root/etc" / name).read_text())
            for name in ("hosts", "hostname", "resolv.conf")
        ],
        "volume": sorted(os.listdir(proc / "root/var")),
    }  # fmt: skip
    return found


def _mount(line: str) -> str:
    """A line of mountinfo without the numbers of mounts, devices and peer groups."""
    before, _, after = line.partition(" - ")
    fields = before.split()
    tags = [tag.partition(":")[0] for tag in fields[6:]]
    return " ".join([*fields[3:6], *tags, "-", after])


def _limits(cgroup: str) -> dict[str, str]:
    found = {}
    for line in cgroup.splitlines():
        _, controllers, path = line.split(":", 2)
        tree = "unified" if not controllers else controllers.removeprefix("name=")
        for top in (f"/sys/fs/cgroup/{tree}{path}", f"/sys/fs/cgroup{path}"):
            for file in LIMITS:
                if os.path.exists(f"{top}/{file}"):
                    found[f"{tree} {file}"] = Path(f"{top}/{file}").read_text()
    return found


def _devices(dev: Path) -> list[str]:
    found = []
    for entry in sorted(dev.iterdir()):
        status = entry.lstat()
        target = f" -> {os.readlink(entry)}" if entry.is_symlink() else ""
        found.append(f"{entry.name}{target} {status.st_mode:o} {status.st_rdev} {status.st_uid}")
    return found


def own_names(container_id: str, home: str) -> dict[str, str]:
    """What is one container's own -> what a fingerprint calls it."""
    return {
        home: "HOME",
        container_id: "ID",
        container_id[:12]: "SHORT",
        f"veth{container_id[:11]}": "CABLE",
    }
