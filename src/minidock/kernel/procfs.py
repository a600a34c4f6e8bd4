"""Files of /proc that are written: opened only where they are procfs's own.

In a container, something else may be mounted on /proc or on a part of it. What is written there
(a confinement for the next execve, a sysctl, whom to kill first) would be lost without a word.

Source: fstatfs(2), proc(5); CVE-2019-16884, CVE-2019-19921 for what came of not looking.
"""

from __future__ import annotations

import ctypes
import os
import sys

from minidock.errors import MinidockError
from minidock.kernel.libc import syscall

_PROC_SUPER_MAGIC = 0x9FA0
_STATFS_BYTES = 256  # struct statfs has 120; f_type is its first long


def open_procfs(path: str, flags: int) -> int:
    """Open a file of /proc, if procfs is what is there; returns its descriptor, close-on-exec.

    Raises OSError, MinidockError where it is a file of another file system.
    """
    fd = os.open(path, flags | os.O_CLOEXEC)
    try:
        require_procfs(fd, path)
    except BaseException:
        os.close(fd)
        raise
    return fd


def require_procfs(fd: int, path: str) -> None:
    """Raise MinidockError where an open file is not procfs's."""
    found = ctypes.create_string_buffer(_STATFS_BYTES)
    syscall("fstatfs", fd, found, subject=path)
    if int.from_bytes(found.raw[:8], sys.byteorder) != _PROC_SUPER_MAGIC:
        raise MinidockError(
            f"{path} is not a file of procfs: something else is mounted there",
            hint="mount nothing over /proc in the container",
        )
