"""The mount table of a process, /proc/PID/mountinfo: what is mounted where.

Source: proc_pid_mountinfo(5).
"""

from __future__ import annotations

import errno
import os

# How mountinfo escapes characters that would split its fields.
_ESCAPED = (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\"))


def mount_table(pid: int | str) -> list[str]:
    """Return the lines of a process's mountinfo, in mount order; "self" is this process.

    Raises FileNotFoundError or ProcessLookupError for a process that has ended, also a zombie.
    Source: proc_pid_mountinfo(5).
    """
    try:
        with open(f"/proc/{pid}/mountinfo", "rb", buffering=0) as file:
            return os.fsdecode(file.readall()).split("\n")[:-1]
    except OSError as error:
        if error.errno == errno.EINVAL:  # its mount namespace is gone already
            raise ProcessLookupError(errno.ESRCH, "has ended", str(pid)) from None
        raise


def unescaped(text: str) -> str:
    """Decode a field of mountinfo, where blanks and backslashes are octal escapes."""
    if "\\" in text:
        for octal, character in _ESCAPED:
            text = text.replace(octal, character)
    return text


def mount_points(pid: int | str = "self") -> list[str]:
    """List all mount points that a process sees, in mount order; see mount_table.

    Source: proc_pid_mountinfo(5): the fifth field, with blanks and backslashes as octal escapes.
    """
    return [unescaped(line.split(" ", 5)[4]) for line in mount_table(pid)]


def mount_point_of(path: str) -> str:
    """Return the mount point that contains a path without links; the path itself if it is one."""
    found = "/"
    for point in mount_points():
        if len(point) > len(found) and f"{path}/".startswith(f"{point}/"):
            found = point
    return found


def is_mount_point(path: str) -> bool:
    """Whether a path is a mount point, also of a bind mount from the same file system.

    os.path.ismount compares devices, and so misses the latter.
    """
    real = os.path.realpath(path)
    return mount_point_of(real) == real
