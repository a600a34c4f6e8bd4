"""Which process holds a flock(2) lock, for the error message of a process that waits for it.

    1: FLOCK  ADVISORY  WRITE 4711 fe:00:131074 0 EOF        a line of /proc/locks: the holder
    1: -> FLOCK  ADVISORY  WRITE 4712 fe:00:131074 0 EOF     a process that waits

The kernel records the process that acquired the lock. If it has ended, but one of its children
still has the descriptor, the kernel shows no line.

Source: proc_locks(5), proc_pid_stat(5).
"""

from __future__ import annotations

import os

from minidock.errors import LockTimeout
from minidock.kernel.proc_stat import stat_fields
from minidock.printable import printable

_LONGEST_NAME = 80


def holders(status: os.stat_result) -> set[int]:
    """Return the pids that hold the lock of a file. status: of that file."""
    device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}"
    found: dict[str, set[int]] = {}
    with open("/proc/locks", encoding="ascii") as file:
        for line in file:
            _, kind, _, _, pid, place, *_ = line.split()
            on, _, inode = place.rpartition(":")
            if kind == "FLOCK" and inode == str(status.st_ino):
                found.setdefault(on, set()).add(int(pid))
    # On overlayfs and btrfs, stat(2) returns another device number than /proc/locks has.
    return found.get(device) or set().union(*found.values())


def timeout_error(status: os.stat_result, path: str) -> LockTimeout:
    """Return the error for a process that has waited too long for the lock of a file."""
    pids = sorted(holders(status))
    if not pids:
        return LockTimeout(
            f"{path} is locked by a process that the kernel does not name here",
            hint=f"fuser -v {path}     lists the processes that have it open",
        )
    pid = pids[0]
    if are_stopped({pid}):
        return LockTimeout(
            f"{path} is locked by process {pid} ({_command(pid)}), which is stopped",
            hint=f"kill -CONT {pid}     continues it",
        )
    return LockTimeout(
        f"{path} is locked by process {pid} ({_command(pid)}), which does not release it",
        hint=f"cat /proc/{pid}/wchan     shows what it waits for\nkill {pid}     ends it",
    )


def are_stopped(pids: set[int]) -> bool:
    """Whether all these processes are stopped, by a signal or a debugger; False if empty."""
    return bool(pids) and all(stat_fields(pid)[1:2] in (["T"], ["t"]) for pid in pids)


def _command(pid: int) -> str:
    """Return a process's command line on one line, truncated."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read(4096).decode("utf-8", "replace").rstrip("\0").replace("\0", " ")
    except (FileNotFoundError, ProcessLookupError):
        return "it has ended"
    shown = printable(words)
    return shown if len(shown) <= _LONGEST_NAME else shown[: _LONGEST_NAME - 1] + "…"
