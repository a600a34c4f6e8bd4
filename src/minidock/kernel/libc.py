"""The C library and the raw system calls, called from Python.

Calls that Python's `os` does not offer go through `syscall` here, or through a libc function that
`declare` typed. Errors are raised as KernelError, never returned as -1. Numbers differ between
architectures only for older calls: since Linux 5.1 a new call has the same number everywhere
(syscalls(2), asm-generic/unistd.h).

Sources: syscall(2), errno(3), the kernel's arch/x86/entry/syscalls/syscall_64.tbl and
include/uapi/asm-generic/unistd.h.
"""

from __future__ import annotations

import ctypes
import os

from minidock.errors import KernelError, MinidockError

_LIBC = ctypes.CDLL(None, use_errno=True)
_syscall = _LIBC.syscall
_syscall.restype = ctypes.c_long

_OLDER = {
    "x86_64": {
        "mount": 165,
        "umount2": 166,
        "pivot_root": 155,
        "chroot": 161,
        "sethostname": 170,
        "setdomainname": 171,
        "unshare": 272,
        "setns": 308,
        "syncfs": 306,
        "mknodat": 259,
        "capget": 125,
        "capset": 126,
        "prctl": 157,
        "seccomp": 317,
        "bpf": 321,
        "keyctl": 250,
        "ioprio_set": 251,
        "personality": 135,
        "setgroups": 116,
        "setresuid": 117,
        "setresgid": 119,
        "mq_open": 240,
        "shmget": 29,
        "shmat": 30,
        "shmctl": 31,
        "shmdt": 67,
        "timerfd_create": 283,
        "timerfd_settime": 286,
        "inotify_init1": 294,
        "inotify_add_watch": 254,
        "fstatfs": 138,
        "statx": 332,
    },
    "aarch64": {
        "mount": 40,
        "umount2": 39,
        "pivot_root": 41,
        "chroot": 51,
        "sethostname": 161,
        "setdomainname": 162,
        "unshare": 97,
        "setns": 268,
        "syncfs": 267,
        "mknodat": 33,
        "capget": 90,
        "capset": 91,
        "prctl": 167,
        "seccomp": 277,
        "bpf": 280,
        "keyctl": 219,
        "ioprio_set": 30,
        "personality": 92,
        "setgroups": 159,
        "setresuid": 147,
        "setresgid": 149,
        "mq_open": 180,
        "shmget": 194,
        "shmat": 196,
        "shmctl": 195,
        "shmdt": 197,
        "timerfd_create": 85,
        "timerfd_settime": 86,
        "inotify_init1": 26,
        "inotify_add_watch": 27,
        "fstatfs": 44,
        "statx": 291,
    },
}
_SINCE_5_1 = {
    "pidfd_send_signal": 424,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "fspick": 433,
    "pidfd_open": 434,
    "clone3": 435,
    "close_range": 436,
    "openat2": 437,
    "pidfd_getfd": 438,
    "mount_setattr": 442,
}

MACHINE = os.uname().machine
if MACHINE not in _OLDER:
    raise MinidockError(
        f"minidock does not know the system call numbers of a {MACHINE} machine",
        hint="it runs on x86_64 and aarch64 (arm64)",
    )
NUMBERS = {**_OLDER[MACHINE], **_SINCE_5_1}


def syscall(name: str, *arguments: object, subject: str = "", hint: str = "") -> int:
    """Make a system call by its name; returns its result.

    arguments: int, bytes (a C string or buffer), ctypes objects, or None for NULL; six at most.
    subject: the object of the call, for the error message.
    Raises KernelError with the errno.
    """
    result: int = _syscall(ctypes.c_long(NUMBERS[name]), *[_argument(a) for a in arguments])
    if result < 0:
        raise KernelError(f"{name}(2)", subject, ctypes.get_errno(), hint=hint)
    return result


def _argument(value: object) -> object:
    """Convert an argument for the variadic syscall(3): ints are 64 bits wide, not C's int."""
    return ctypes.c_long(value) if isinstance(value, int) else value


def path_bytes(path: str) -> bytes:
    """Encode a path for the kernel.

    Raises KernelError EINVAL for an embedded NUL, which would truncate the path.
    """
    encoded = os.fsencode(path)
    if b"\0" in encoded:
        raise KernelError("path_resolution(7)", repr(path), 22)
    return encoded
