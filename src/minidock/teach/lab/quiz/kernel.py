"""Read what the questions are about: files of /proc and /sys, and directories of the store.

No function asks minidock: the same files verify every answer of the quiz.
Sources: proc(5), cgroups(7), iptables-save(8); Documentation/filesystems/overlayfs.rst.
"""

from __future__ import annotations

import os
import socket
import stat
import struct
import subprocess

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


def text_of(path: str) -> str:
    """The content of a small file."""
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def status(pid: int, field: str) -> str:
    """A line of /proc/PID/status, such as status(1, "Uid") -> "0\\t0\\t0\\t0"."""
    for line in text_of(f"/proc/{pid}/status").splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return value.strip()
    raise KeyError(field)


def inode(pid: int | str, kind: str) -> int:
    """The inode of a process's namespace. pid: or "self". kind: as in /proc/PID/ns."""
    return os.stat(f"/proc/{pid}/ns/{kind}").st_ino


def mount_under(pid: int, path: str) -> tuple[str, str]:
    """The mount of a path, as (its mount point, the type of its file system)."""
    found = ("", "")
    for line in text_of(f"/proc/{pid}/mountinfo").splitlines():
        fields = line.split(" ")
        point, kind = fields[4], fields[fields.index("-") + 1]
        below = path == point or path.startswith(point.rstrip("/") + "/")
        if below and len(point) >= len(found[0]):
            found = (point, kind)
    return found


def kind_of(path: str) -> str:
    """The kind of file at a path, in the words of the questions about layers."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return "nothing"
    if stat.S_ISCHR(found.st_mode) and found.st_rdev == 0:
        return "a character device 0/0"
    if stat.S_ISREG(found.st_mode) and found.st_size == 0:
        return "an empty file"
    return "a directory" if stat.S_ISDIR(found.st_mode) else "a file"


def attribute(path: str, name: str) -> str:
    """An extended attribute of a file; "" if it is not set."""
    try:
        return os.getxattr(path, name, follow_symlinks=False).decode()
    except OSError:
        return ""


def cgroup_directory(pid: int, controller: str) -> str:
    """The directory of a process's cgroup for a controller, in cgroup v1 or v2."""
    for line in text_of(f"/proc/{pid}/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            return _mounted("cgroup", controller) + path
    for line in text_of(f"/proc/{pid}/cgroup").splitlines():
        if line.startswith("0::"):
            return _mounted("cgroup2", "") + line[3:]
    raise FileNotFoundError(f"no cgroup with {controller} for process {pid}")


def _mounted(kind: str, controller: str) -> str:
    for line in text_of("/proc/self/mountinfo").splitlines():
        fields = line.split(" ")
        at = fields.index("-")
        if fields[at + 1] == kind and (not controller or controller in fields[at + 3].split(",")):
            return fields[4]
    raise FileNotFoundError(f"no {kind} {controller} is mounted")


def default_gateway(pid: int) -> str:
    """The gateway of a process's default route."""
    for line in text_of(f"/proc/{pid}/net/route").splitlines()[1:]:
        _, destination, gateway, *_ = line.split()
        if destination == "00000000":
            return socket.inet_ntoa(struct.pack("<I", int(gateway, 16)))
    return "none"


def connections(pid: int | str, local_port: int) -> Iterator[tuple[str, str, int]]:
    """TCP sockets at a port of a process's network: (the peer's address, the state, the inode).

    The state is the kernel's number: "01" is established, "0A" listening.
    """
    for name in ("tcp", "tcp6"):
        for line in text_of(f"/proc/{pid}/net/{name}").splitlines()[1:]:
            fields = line.split()
            if int(fields[1].rpartition(":")[2], 16) == local_port:
                peer = fields[2].rpartition(":")[0][-8:]  # of ::ffff:1.2.3.4 the IPv4 part
                address = socket.inet_ntoa(struct.pack("<I", int(peer, 16)))
                yield address, fields[3], int(fields[9])


def holders(socket_inode: int, pids: list[int]) -> list[int]:
    """The processes among these that have a socket open."""
    found = []
    for pid in pids:
        for descriptor in os.listdir(f"/proc/{pid}/fd"):
            try:
                target = os.readlink(f"/proc/{pid}/fd/{descriptor}")
            except FileNotFoundError:  # closed meanwhile
                continue
            if target == f"socket:[{socket_inode}]":
                found.append(pid)
                break
    return found


def nat_rules() -> list[str]:
    """The rules of the nat table, each after its counters: "[packets:bytes] -A …"."""
    done = subprocess.run(
        ["iptables-save", "-c", "-t", "nat"], capture_output=True, text=True, check=True
    )
    return [line for line in done.stdout.splitlines() if line.startswith("[")]


def link_by_index(index: int) -> str:
    """The name of this host's network interface with an index; "" for none."""
    for name in links():
        try:
            found = int(text_of(f"/sys/class/net/{name}/ifindex"))
        except OSError:  # it has gone meanwhile: ENOENT, or of an open file EINVAL or ENODEV
            continue
        if found == index:
            return name
    return ""


def links() -> list[str]:
    """The names of this host's network interfaces."""
    names = sorted(os.listdir("/sys/class/net"))  # may hold bonding_masters, which is a file
    return [name for name in names if os.path.isdir(f"/sys/class/net/{name}")]
