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

from minidock.kernel.proc_stat import stat_fields
from minidock.numerals import is_decimal
from minidock.printable import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


def explain_unreaped(init: int) -> str:
    """Which zombie keeps a container from exiting, and what to do about it; "" where none does.

    init: the container's, as the host numbers it.
    """
    zombie = next(_zombies_beside(init), None)
    if zombie is None:
        return ""
    pid, name, parent = zombie
    advice = f"kill {parent}     ends its parent, if nobody needs that"
    if parent == "1":
        advice = "an init that reaps (docker run --init) ends it"
    return (
        f"process {pid} ({name}) in its PID namespace has exited, but its parent,\n"
        f"process {parent} ({_name(stat_fields(parent))}), has not reaped it: {advice}"
    )


def _zombies_beside(init: int) -> Iterator[tuple[str, str, str]]:
    """(pid, name, pid of its parent) of each zombie in the PID namespace of init, but for init."""
    namespace = _pid_namespace(str(init))
    if namespace is None:
        return
    for pid in filter(is_decimal, os.listdir("/proc")):
        fields = stat_fields(pid)
        if pid != str(init) and fields[1:2] == ["Z"] and _pid_namespace(pid) == namespace:
            yield pid, _name(fields), fields[2]


def _pid_namespace(pid: str) -> int | None:
    """The inode of a process's PID namespace; None if the process does not exist."""
    try:
        return os.stat(f"/proc/{pid}/ns/pid").st_ino
    except (FileNotFoundError, ProcessLookupError):
        return None


def _name(fields: list[str]) -> str:
    """The name in these fields of a process, on one line."""
    return printable(fields[0]) if fields else "gone"
