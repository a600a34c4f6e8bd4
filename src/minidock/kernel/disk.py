"""What is written, on the disk: for what a power cut may not take away.

It changes nothing that anybody could see, so it is not an op.

Source: syncfs(2).
"""

from __future__ import annotations

import os

from minidock.kernel.libc import syscall


def sync_file_system(path: str) -> None:
    """Have the disk hold all that was written to the file system on which a directory is.

    Raises KernelError, also EIO or ENOSPC for what could not be written (Linux 5.8).
    """
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        syscall("syncfs", fd, subject=path)
    finally:
        os.close(fd)
