"""Zombies in a container's PID namespace: while one is left, the container's init cannot exit.

The kernel lets the init of a PID namespace exit last, when every other process there was reaped. A
process that joined the namespace (`run --pid container:NAME`, `exec`) has its parent outside: a
monitor. Where that monitor was killed, the process's parent is the machine's PID 1, or the nearest
subreaper. Most reap at once; the PID 1 of a Docker container that was started without `--init`
often does not reap at all.

Source: pid_namespaces(7), zap_pid_ns_processes() in kernel/pid_namespace.c; proc_pid_stat(5).
"""

from __future__ import annotations

import os

from minidock.numerals import is_decimal


def explain_unreaped(init: int) -> str:
    """Which zombie keeps a container from exiting, and what to do about it; "" where none does.

    init: the container's, as the host numbers it.
    """
    for pid, name, parent in _zombies_beside(init):
        parent_name = _stat(parent)[0]
        advice = "an init that reaps (docker run --init) ends it" if parent == 1 else (
            f"kill {parent}     ends its parent, if nobody needs that"
        )  # fmt: skip
        return (
            f"process {pid} ({name}) in its PID namespace has exited, but its parent,\n"
            f"process {parent} ({parent_name}), has not reaped it: {advice}"
        )
    return ""


def _zombies_beside(init: int) -> list[tuple[int, str, int]]:
    """(pid, name, pid of its parent) of each zombie in the PID namespace of init, but for init."""
    namespace = _pid_namespace(init)
    found = []
    for entry in os.listdir("/proc"):
        if not is_decimal(entry) or int(entry) == init:
            continue
        name, state, parent = _stat(int(entry))
        if state == "Z" and namespace and _pid_namespace(int(entry)) == namespace:
            found.append((int(entry), name, parent))
    return found


def _pid_namespace(pid: int) -> int:
    """The inode of a process's PID namespace; 0 where the process has gone."""
    try:
        return os.stat(f"/proc/{pid}/ns/pid").st_ino
    except (FileNotFoundError, ProcessLookupError):
        return 0


def _stat(pid: int) -> tuple[str, str, int]:
    """Name, state and parent of a process; ("gone", "", 0) where it has gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            head, _, tail = file.read().rpartition(")")
    except (FileNotFoundError, ProcessLookupError):
        return "gone", "", 0
    state, parent = tail.split()[:2]
    name = "".join(letter if letter.isprintable() else "?" for letter in head.partition("(")[2])
    return name, state, int(parent)
