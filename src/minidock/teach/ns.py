"""ns: which namespaces the containers have of their own, and which they share with the host."""

from __future__ import annotations

import os

KINDS = ("mnt", "pid", "net", "ipc", "uts", "cgroup", "user", "time")


def inode_of(pid: int | str, kind: str) -> int:
    """The inode of a process's namespace, by which the kernel tells it from all others.

    pid: or "self", for the host's: those in which this command runs. kind: as in /proc/PID/ns.
    Raises FileNotFoundError where the process has ended.
    """
    return os.stat(f"/proc/{pid}/ns/{kind}").st_ino
