"""/proc/PID/stat: a process's name, state, parent, session and CPU time, on one line.

    4711 (a name) S 4242 4711 4711 0 -1 ...

A name may contain blanks and parentheses, so the fields after it begin behind the last one.

Source: proc_pid_stat(5).
"""

from __future__ import annotations


def stat_fields(pid: int | str) -> list[str]:
    """The fields from the second on: [0] name, [1] state, [2] parent; empty if it does not exist.

    Raises PermissionError for a process that procfs hides.
    """
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            before, _, after = file.read().rpartition(")")
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [before.partition("(")[2], *after.split()]
