"""The children of this process, as /proc has them: found without having been told of.

Source: proc(5) "/proc/pid/task/tid/children", "/proc/pid/stat", "/proc/pid/fd".
"""

from __future__ import annotations

import os


def children() -> set[int]:
    """Our children; none on a kernel without CONFIG_PROC_CHILDREN."""
    try:
        with open("/proc/thread-self/children", encoding="ascii") as file:
            return {int(word) for word in file.read().split()}
    except FileNotFoundError:
        return set()


def is_zombie(pid: int) -> bool:
    """Whether a child of ours has ended; it stays until it is reaped."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        return file.read().rpartition(b")")[2].split()[0] == b"Z"


def holds_or_exits(pid: int, link: str) -> bool:
    """Whether a process has a descriptor of this file, or is exiting: it has none any more then."""
    try:
        held = [_target(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
    except FileNotFoundError:
        return False
    return not any(held) or link in held


def _target(path: str) -> str:
    try:
        return os.readlink(path)
    except FileNotFoundError:
        return ""  # closed meanwhile
