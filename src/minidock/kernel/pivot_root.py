"""The root directory of a process: pivot_root(2) for a container, chroot(2) for a helper process.

pivot_root replaces the root mount of the whole mount namespace, so the old one can be unmounted.
chroot changes only where the paths of one process begin; root can leave it again.

Sources: pivot_root(2), chroot(2), mount_namespaces(7).
"""

from __future__ import annotations

import os

from minidock.kernel.libc import path_bytes, syscall
from minidock.kernel.op import op, quote


def _pivot_root_sh(new_root: str, put_old: str) -> str:
    return f"pivot_root {quote(new_root)} {quote(put_old)}"


@op("pivot_root(2)", twin=_pivot_root_sh, family="mount")
def pivot_root(new_root: str, put_old: str) -> None:
    """Make the container's rootfs the root of this mount namespace, instead of the host's.

    Without it: the host's file system stays reachable. chroot(2) only changes where paths begin: a
    process with CAP_SYS_CHROOT calls it again, follows "..", and arrives in the host's root.

    Afterwards the old root is mounted at put_old, and one unmount makes the host's file system
    unreachable: unlike with chroot(2), no path and no ".." leads back. With "." for both, the old
    root is stacked on the new one, and the image needs no directory for it.
    Raises KernelError EINVAL for any of: new_root is not a mount point; put_old is not at or below
    new_root; new_root or its parent mount is shared; the current root is not a mount point
    (initramfs). EBUSY: new_root is on the current root's own mount.
    """
    syscall(
        "pivot_root",
        path_bytes(new_root),
        path_bytes(put_old),
        subject=new_root,
        hint="the new root must be a mount point, and its parent mount must not be shared",
    )


def _chroot_sh(path: str) -> str:
    return f"chroot {quote(path)}"


@op("chroot(2)", twin=_chroot_sh, family="path")
def chroot(path: str) -> None:
    """Change this process's root directory, so that names in an archive cannot escape from it.

    Without it: a link in a malicious archive, such as etc -> /etc, would make its files overwrite
    the host's.

    It does not isolate a container (a process with CAP_SYS_CHROOT can escape; a container uses
    pivot_root), but suffices for a short-lived process that unpacks files.
    """
    syscall("chroot", path_bytes(path), subject=path)
    os.chdir("/")
