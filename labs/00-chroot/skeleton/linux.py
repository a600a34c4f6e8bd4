"""System calls that Python's os module lacks (or has only in newer versions).

Given: this file is the same in all labs. Each function makes the system call of that name, and
raises OSError with the kernel's errno if it fails. See man 2 NAME.
"""

import ctypes
import os

CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC = 0x20000, 0x2000000, 0x4000000, 0x8000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND = 1, 2, 4, 8, 32, 4096
MS_REC, MS_PRIVATE, MS_SLAVE, MS_SHARED = 0x4000, 1 << 18, 1 << 19, 1 << 20
MNT_DETACH = 2
RESOLVE_IN_ROOT = 0x10

PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 22, 24, 38
PR_SET_CHILD_SUBREAPER, PR_CAP_AMBIENT = 36, 47

_NUMBERS = {
    "x86_64": {"pivot_root": 155, "openat2": 437},
    "aarch64": {"pivot_root": 41, "openat2": 437},
}[os.uname().machine]
_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result, *subject):
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), *subject)
    return result


def unshare(flags):
    """Move this process to new namespaces of these kinds."""
    _checked(_libc.unshare(flags), f"unshare({flags:#x})")


def mount(source, target, kind, flags=0, options=""):
    """Mount, bind, remount or change propagation: flags say which. source, kind: "" for none."""
    words = [os.fsencode(word) if word else None for word in (source, target, kind)]
    data = os.fsencode(options) if options else None
    subject = (source, None, target) if source else (target,)
    _checked(_libc.mount(*words, ctypes.c_ulong(flags), data), *subject)


def umount2(target, flags=0):
    """Unmount; MNT_DETACH: detach it now, and release it when it is no longer used."""
    _checked(_libc.umount2(os.fsencode(target), flags), target)


def pivot_root(new_root, put_old):
    """Make new_root the root mount, and move the old root to put_old, which is below it."""
    paths = os.fsencode(new_root), os.fsencode(put_old)
    _checked(_libc.syscall(_NUMBERS["pivot_root"], *paths), new_root)


def openat2(directory, path, flags, resolve):
    """Open path relative to directory (a descriptor); RESOLVE_IN_ROOT: as if it were the root.

    Then neither a symbolic link nor .. leads out of it. Returns a descriptor, closed by execve.
    """
    how = (ctypes.c_uint64 * 3)(flags | os.O_CLOEXEC, 0, resolve)  # flags, mode, resolve
    number, size = _NUMBERS["openat2"], ctypes.sizeof(how)
    return _checked(_libc.syscall(number, directory, os.fsencode(path), how, size), path)


def sethostname(name):
    """Set the host name of this UTS namespace."""
    encoded = os.fsencode(name)
    _checked(_libc.sethostname(encoded, len(encoded)))


def prctl(option, *arguments):
    """Change an attribute of this process: PR_... names it."""
    words = [ctypes.c_ulong(word) for word in (*arguments, 0, 0, 0, 0)[:4]]
    return _checked(_libc.prctl(option, *words))
