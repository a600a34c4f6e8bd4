"""System V shared memory: named by numbers, and the oldest thing that an IPC namespace hides.

No container is made of it, so these are no ops: a probe of the IPC namespace wants it to be there.

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


def keep_segment() -> tuple[int, int]:
    """Make a piece of shared memory that is listed, and that goes with the process that made it.

    It is marked to be removed as soon as it is attached: a process that is killed leaves none.
    Returns its id and the address it is attached at; (-1, 0) where the kernel has no such memory.
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


def let_go_of_segment(segment: int, address: int) -> None:
    """Detach a piece of shared memory; with its last user it goes."""
    if address:
        syscall("shmdt", address, subject=str(segment))
