"""Safe writes to /proc: a file is opened only if it really is the file of procfs at that path.

In a container, another file system may be mounted on /proc or on a part of it. A write there (an
AppArmor profile, a sysctl, oom_score_adj) would be lost silently, and another file of procfs, bind
mounted over the intended one, even has the expected file system type. So the file must be on the
same mount as /proc; or on one that shows the same path of the same procfs, such as /proc/sys after
it was bind mounted onto itself to become read-only, or writable again.

Source: fstatfs(2), statx(2) STATX_MNT_ID (Linux 5.8), proc_pid_mountinfo(5); CVE-2019-16884,
CVE-2019-19921, CVE-2025-52881 for attacks where this check was missing.
"""

from __future__ import annotations

import ctypes
import os
import sys

from minidock.errors import MinidockError
from minidock.kernel.libc import syscall

_PROC_SUPER_MAGIC = 0x9FA0
_PROC_ROOT_INODE = 1  # include/linux/proc_ns.h
_STATFS_BYTES = 256  # struct statfs has 120; f_type is its first long
_STATX_BYTES = 256
_STATX_MNT_ID, _MNT_ID_AT = 0x1000, 144  # include/uapi/linux/stat.h
_AT_EMPTY_PATH = 0x1000
_MOUNTS = "/proc/thread-self/mountinfo"
_HINT = "mount nothing over /proc in the container"


def open_procfs(path: str, flags: int) -> int:
    """Open a file of /proc after these checks; returns its descriptor, close-on-exec.

    path: such as /proc/self/comm. Raises OSError; MinidockError if it is a file of another file
    system, or another file of procfs.
    """
    fd = os.open(path, flags | os.O_CLOEXEC)
    try:
        _require_procfs(fd, path)
        _require_its_place(fd, path)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _require_procfs(fd: int, path: str) -> None:
    """Raise MinidockError if an open file is not in procfs."""
    found = ctypes.create_string_buffer(_STATFS_BYTES)
    syscall("fstatfs", fd, found, subject=path)
    if int.from_bytes(found.raw[:8], sys.byteorder) != _PROC_SUPER_MAGIC:
        raise MinidockError(
            f"{path} is not a file of procfs: something else is mounted there", hint=_HINT
        )


def _require_its_place(fd: int, path: str) -> None:
    """Raise MinidockError if an open file of procfs is not the one that its path names."""
    root = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _require_procfs(root, "/proc")
        status = os.fstat(root)
        is_whole = status.st_ino == _PROC_ROOT_INODE and status.st_dev == os.fstat(fd).st_dev
        mount, own = _mount_id(root), _mount_id(fd)
    finally:
        os.close(root)
    if not is_whole or own != mount and not _shows(own, path):
        raise MinidockError(
            f"{path} is another file of procfs: something is mounted over it", hint=_HINT
        )


def _mount_id(fd: int) -> int:
    found = ctypes.create_string_buffer(_STATX_BYTES)
    syscall("statx", fd, b"", _AT_EMPTY_PATH, _STATX_MNT_ID, found, subject="mount id")
    return int.from_bytes(found.raw[_MNT_ID_AT : _MNT_ID_AT + 8], sys.byteorder)


def _shows(mount_id: int, path: str) -> bool:
    """Whether a mount below /proc shows at this path the same path of procfs."""
    if path == _MOUNTS:
        return False
    try:
        fd = open_procfs(_MOUNTS, os.O_RDONLY)
    except FileNotFoundError:  # another process's /proc/PID is mounted over ours
        return False
    with open(fd, "rb", buffering=0) as file:
        lines = file.read().splitlines()
    for line in lines:
        number, _, _, shown, point = line.split(b" ")[:5]
        if int(number) != mount_id:
            continue
        at = point.decode(errors="replace")
        is_below = path == at or path.startswith(f"{at}/")
        return is_below and f"/proc{shown.decode(errors='replace')}{path[len(at) :]}" == path
    return False
