"""What a tmpfs takes over from the directory it covers: the mode and, with tmpcopyup, the files.

engine/container/mounts.py reads --tmpfs, and runtime/rootfs.py mounts the tmpfs.

The directory is opened before the mount, and read through that descriptor afterwards. The files
come from an untrusted image, so no link is followed and nothing is opened that could block. Owners,
modes, times, extended attributes and devices are copied; hard links become separate files.

Sources: OCI runtime-spec config "tmpcopyup"; openat(2), inode(7), xattr(7).
"""

from __future__ import annotations

import os
import stat
from errno import ENOTSUP

from minidock.errors import KernelError
from minidock.kernel.op import op, quote
from minidock.kernel.path import join, open_in_root

_LOOK = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAKE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK_BYTES = 1 << 30


def mode_option(root: str, target: str, data: str) -> str:
    """Add the mode of the directory that a tmpfs will cover to its options, like runc.

    data: options without a mode. If the directory does not exist, tmpfs's default stays: 1777.
    """
    try:
        descriptor = open_in_root(root, target)
    except KernelError:
        return data
    mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
    os.close(descriptor)
    return ",".join([f"mode={mode:04o}", *([data] if data else [])])


def open_covered(root: str, target: str) -> int:
    """Open a directory before a tmpfs is mounted on it; returns its descriptor."""
    return open_in_root(root, target, os.O_RDONLY | os.O_DIRECTORY)


def _copy_up_sh(beneath: int, root: str, target: str) -> str:
    return f"cp -a /proc/self/fd/{beneath}/. {quote(join(root, target))}"


@op("cp(1)", twin=_copy_up_sh, family="tmpcopyup")
def copy_up(beneath: int, root: str, target: str) -> None:
    """Copy the covered files to the tmpfs, so that changes to them are temporary.

    Without it: the tmpfs is empty, and hides the image's files while it is mounted.

    beneath: from `open_covered`; it is closed.
    Raises KernelError: ENOSPC if the content is larger than the tmpfs.
    """
    try:
        above = open_in_root(root, target, os.O_RDONLY | os.O_DIRECTORY)
        try:
            _copy_entries(beneath, above)
        finally:
            os.close(above)
    except OSError as error:
        raise KernelError("cp(1)", target, error.errno or 0) from None
    finally:
        os.close(beneath)


def _copy_entries(source: int, target: int) -> None:
    for name in os.listdir(source):
        status = os.stat(name, dir_fd=source, follow_symlinks=False)
        kind = stat.S_IFMT(status.st_mode)
        if kind == stat.S_IFDIR:
            _copy_directory(name, source, target, status)
        elif kind == stat.S_IFREG:
            _copy_file(name, source, target, status)
        elif kind == stat.S_IFLNK:
            os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
            os.chown(name, status.st_uid, status.st_gid, dir_fd=target, follow_symlinks=False)
        else:
            os.mknod(name, status.st_mode, status.st_rdev, dir_fd=target)
            os.chown(name, status.st_uid, status.st_gid, dir_fd=target, follow_symlinks=False)
            os.chmod(name, stat.S_IMODE(status.st_mode), dir_fd=target)


def _copy_directory(name: str, source: int, target: int, status: os.stat_result) -> None:
    os.mkdir(name, 0o700, dir_fd=target)
    below = os.open(name, _LOOK | os.O_DIRECTORY, dir_fd=source)
    above = os.open(name, _LOOK | os.O_DIRECTORY, dir_fd=target)
    try:
        _copy_entries(below, above)
        _copy_attributes(below, above, status)
    finally:
        os.close(below)
        os.close(above)


def _copy_file(name: str, source: int, target: int, status: os.stat_result) -> None:
    below = os.open(name, _LOOK, dir_fd=source)
    above = os.open(name, _MAKE, 0o600, dir_fd=target)
    try:
        while os.sendfile(above, below, None, _CHUNK_BYTES):
            pass
        _copy_attributes(below, above, status)
    finally:
        os.close(below)
        os.close(above)


def _copy_attributes(below: int, above: int, status: os.stat_result) -> None:
    """Copy attributes. Owner first: a change of owner clears setuid bits and capabilities."""
    os.fchown(above, status.st_uid, status.st_gid)
    os.fchmod(above, stat.S_IMODE(status.st_mode))
    for name in os.listxattr(below):
        try:
            os.setxattr(above, name, os.getxattr(below, name))
        except OSError as error:
            if error.errno != ENOTSUP:  # tmpfs has no user.* attributes before Linux 6.6
                raise
    os.utime(above, ns=(status.st_atime_ns, status.st_mtime_ns))
