"""Paths: how they are resolved inside a root that nobody trusts, and where a process's own begin.

An image may hold a symbolic link where a mount point or a file is expected, pointing at the host.
So what lies in a rootfs is opened by openat2(2) with RESOLVE_IN_ROOT, as if the root were "/"
already, and is then used by its file descriptor, never by its name. What must not have any link in
it at all (a folder that others may change while it is read, a tree on its way out) is opened below
a directory's descriptor, with RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS.

Sources: openat2(2), path_resolution(7), chdir(2), chroot(2).
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
_ATTEMPTS = 100  # EAGAIN: something was renamed or mounted, anywhere, while ".." was resolved


def open_in_root(root: str, path: str, flags: int = os.O_PATH, mode: int = 0) -> int:
    """Open a path as if `root` were "/": links in it cannot lead out.

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
    """Open a path below an open directory, if no part of it is a link or leads out.

    same_mount: nothing that is mounted below the directory is entered, binds included.
    Returns a file descriptor, close-on-exec.
    Raises KernelError: ELOOP (a link), EXDEV (an absolute path, a ".." that leads out, or another
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
    """A resolved mount point: its /proc/self/fd name while the block runs."""

    def __init__(self, root: str, target: str) -> None:
        self._fd = open_in_root(root, target)

    def __enter__(self) -> bytes:
        return b"/proc/self/fd/%d" % self._fd

    def __exit__(self, *error: object) -> None:
        os.close(self._fd)


def join(root: str, target: str) -> str:
    """How a target inside a root is written from outside, for messages and twins."""
    return (root.rstrip("/") + "/" + target.lstrip("/")).rstrip("/") or "/"


def _enter_directory_sh(path: str) -> str:
    return f"cd {quote(path)}"


@op("chdir(2)", twin=_enter_directory_sh)
def enter_directory(path: str) -> None:
    """Go into a directory; at the end, the one in which the container's command starts.

    Without it: the command starts in whatever directory init was in, and a relative path means
    another file.

    Raises KernelError, also where the directory lies outside this root: a working directory that is
    an open descriptor of the host's would be a way out (CVE-2024-21626), and getcwd(2) tells.
    """
    try:
        os.chdir(path)
        here = os.getcwd()
    except OSError as error:
        raise KernelError("chdir(2)", path, error.errno or 0) from None
    if not here.startswith("/"):
        raise MinidockError(
            f"the working directory {path} lies outside the container",
            hint="give a path inside the container to -w, or change the image's WorkingDir",
        )


def _chroot_sh(path: str) -> str:
    return f"chroot {quote(path)}"


@op("chroot(2)", twin=_chroot_sh)
def chroot(path: str) -> None:
    """Start this process's paths at a directory, so that names in an archive cannot lead out of it.

    Without it: a link in a hostile archive, such as etc -> /etc, would have its files written over
    the host's.

    Not a container's wall (a process with CAP_SYS_CHROOT gets out again, and pivot_root is what a
    container uses); good for a short-lived helper that unpacks files.
    """
    syscall("chroot", path_bytes(path), subject=path)
    os.chdir("/")


def _set_umask_sh(mask: int) -> str:
    return f"umask {mask:04o}"


@op("umask(2)", twin=_set_umask_sh)
def set_umask(mask: int) -> None:
    """Say which permissions new files of the command lack, whatever its caller's umask is.

    Without it: files have other modes where an administrator's umask is 077 than where it is 022:
    the same image behaves differently on two machines.

    mask: the permissions that are left out.
    """
    os.umask(mask)
