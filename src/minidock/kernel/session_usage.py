"""Resource usage of a session's processes: bytes read and written, CPU time.

A process's counters include those of the children that it has waited for. So the sums never shrink
while the session's first process lives, except for a child that ends after its parent.

Sources: proc_pid_io(5) rchar, wchar: by read(2), write(2), …, also of pipes and
sockets, not by recv(2) and send(2); proc_pid_stat(5) session, utime, stime, cutime, cstime.
"""

from __future__ import annotations

import os

from minidock.kernel.proc_stat import stat_fields
from minidock.numerals import is_decimal

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class SessionUsage:
    """The usage up to now.

    bytes: read and written. cpu_seconds: user and system time. programs: the processes' names.
    is_known: whether the counters of all processes were readable.
    """

    def __init__(self) -> None:
        self.bytes = 0
        self.cpu_seconds = 0.0
        self.programs: list[str] = []
        self.is_known = True


def session_usage(session: int) -> SessionUsage:
    """Sum up the usage of a session's processes. session: the pid of its first process."""
    usage = SessionUsage()
    for name in filter(is_decimal, os.listdir("/proc")):
        try:
            fields = stat_fields(name)
            if fields and int(fields[4]) == session:
                usage.cpu_seconds += sum(map(int, fields[12:16])) / _TICKS_PER_SECOND
                usage.programs.append(fields[0])
                _add_bytes(usage, name)
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # ended, or hidden by procfs as another user's
    return usage


def _add_bytes(usage: SessionUsage, pid: str) -> None:
    try:
        with open(f"/proc/{pid}/io", encoding="ascii") as file:
            counters = dict(line.split(": ") for line in file.read().splitlines())
    except PermissionError:
        usage.is_known = False
        return
    usage.bytes += int(counters["rchar"]) + int(counters["wchar"])
