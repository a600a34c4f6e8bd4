"""Sync a file system to the disk, for data that must survive a power failure.

It changes nothing that a process could see, so it is not an op.

Source: syncfs(2).
"""

from __future__ import annotations

import os

from minidock.kernel.libc import syscall


def sync_file_system(path: str) -> None:
    """Write all pending data of the file system that contains a directory to the disk.

    Raises KernelError, also EIO or ENOSPC for failed writes (Linux 5.8).
    """
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        syscall("syncfs", fd, subject=path)
    finally:
        os.close(fd)
