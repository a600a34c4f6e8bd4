"""System V shared memory, which an IPC namespace isolates.

Only a probe of the IPC namespace uses it, so these functions are not ops.

Source: shmget(2), shmop(2), shmctl(2), sysvipc(7).
"""

from __future__ import annotations

from errno import ENOSYS

from minidock.errors import KernelError
from minidock.kernel.libc import syscall

_IPC_PRIVATE = 0
_IPC_CREAT = 0o1000
_IPC_RMID = 0
_BYTES = 4096


def create_segment() -> tuple[int, int]:
    """Create a shared memory segment that is listed, and freed when this process ends.

    It is marked for removal once it is attached, so a killed process leaves nothing.
    Returns its id and its address; (-1, 0) if the kernel does not support it.
    """
    try:
        segment = syscall("shmget", _IPC_PRIVATE, _BYTES, _IPC_CREAT | 0o600)
    except KernelError as error:
        if error.errno == ENOSYS:
            return -1, 0
        raise
    address = 0
    try:
        address = syscall("shmat", segment, None, 0, subject=str(segment))
    finally:
        syscall("shmctl", segment, _IPC_RMID, None, subject=str(segment))
    return segment, address


def release_segment(segment: int, address: int) -> None:
    """Detach a shared memory segment; it is freed with its last user."""
    if address:
        syscall("shmdt", address, subject=str(segment))
