"""Paths: resolution in an untrusted root, and the working directory and umask of a process.

An image may contain a symbolic link to the host where a mount point or a file is expected. So files
of a rootfs are opened by openat2(2) with RESOLVE_IN_ROOT, as if the root were "/" already, and are
then used by file descriptor, never by name. Paths that must not contain any link (in a directory
that others may change while it is read, or in a tree that is being removed) are opened relative to
a directory's descriptor, with RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS.

Sources: openat2(2), path_resolution(7), chdir(2), umask(2).
"""

from __future__ import annotations

import errno
import os

from minidock.errors import KernelError, MinidockError
from minidock.kernel.libc import path_bytes, syscall
from minidock.kernel.op import op, quote

RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10
_ATTEMPTS = 100  # EAGAIN: a rename or mount happened anywhere while ".." was resolved


def open_in_root(root: str, path: str, flags: int = os.O_PATH, mode: int = 0) -> int:
    """Open a path as if `root` were "/", so that links cannot escape.

    Returns a file descriptor, close-on-exec.
    Raises KernelError: ENOENT, ENOTDIR, ELOOP (a magic link such as /proc/self/fd/N).
    Source: openat2(2) "RESOLVE_IN_ROOT".
    """
    root_fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return _openat2(root_fd, path, flags, mode, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
    finally:
        os.close(root_fd)


def open_beneath(
    directory_fd: int, path: str, flags: int, mode: int = 0, *, same_mount: bool = False
) -> int:
    """Open a path below an open directory, if no part of it is a link or escapes.

    same_mount: do not cross into mounts below the directory, bind mounts included.
    Returns a file descriptor, close-on-exec.
    Raises KernelError: ELOOP (a link), EXDEV (an absolute path, a ".." that escapes, or another
    mount), ENOENT, ENOTDIR.
    Source: openat2(2) "RESOLVE_BENEATH".
    """
    resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS
    if same_mount:
        resolve |= RESOLVE_NO_XDEV
    return _openat2(directory_fd, path, flags, mode, resolve)


def _openat2(directory_fd: int, path: str, flags: int, mode: int, resolve: int) -> int:
    how = b"".join(value.to_bytes(8, "little") for value in (flags | os.O_CLOEXEC, mode, resolve))
    for _ in range(_ATTEMPTS - 1):
        try:
            return syscall("openat2", directory_fd, path_bytes(path), how, len(how), subject=path)
        except KernelError as error:
            if error.errno != errno.EAGAIN:
                raise
    return syscall("openat2", directory_fd, path_bytes(path), how, len(how), subject=path)


class Target:
    """A resolved mount point: yields its /proc/self/fd name during the block."""

    def __init__(self, root: str, target: str) -> None:
        self._fd = open_in_root(root, target)

    def __enter__(self) -> bytes:
        return b"/proc/self/fd/%d" % self._fd

    def __exit__(self, *error: object) -> None:
        os.close(self._fd)


def join(root: str, target: str) -> str:
    """Join a root and a target in it, for messages and twins."""
    return (root.rstrip("/") + "/" + target.lstrip("/")).rstrip("/") or "/"


def _enter_directory_sh(path: str) -> str:
    return f"cd {quote(path)}"


@op("chdir(2)", twin=_enter_directory_sh)
def enter_directory(path: str) -> None:
    """Change the working directory; finally to the one in which the container's command starts.

    Without it: the command starts in the directory that init was in, and a relative path means
    another file.

    Raises KernelError, also if the directory is outside this root, which getcwd(2) shows: a working
    directory from an open descriptor of the host would be an escape (CVE-2024-21626).
    """
    try:
        os.chdir(path)
        here = os.getcwd()
    except OSError as error:
        raise KernelError("chdir(2)", path, error.errno or 0) from None
    if not here.startswith("/"):
        raise MinidockError(
            f"the working directory {path} is outside the container",
            hint="give a path inside the container to -w, or change the image's WorkingDir",
        )


def _set_umask_sh(mask: int) -> str:
    return f"umask {mask:04o}"


@op("umask(2)", twin=_set_umask_sh)
def set_umask(mask: int) -> None:
    """Set which permissions new files of the command lack, independent of the caller's umask.

    Without it: new files get other modes with a caller's umask of 077 than with 022: the same image
    behaves differently on two machines.

    mask: the permissions that are removed.
    """
    os.umask(mask)
