"""overlayfs: an image's read-only layers and a container's own writes, seen as one tree.

A lookup goes through upperdir, then the lowerdirs from the top down. The first write to a file of a
lower layer copies it up. A removed file is a *whiteout* in the upper layer (a character device 0/0)
and a directory that hides all below it carries the attribute trusted.overlay.opaque.

mount(2) takes its options in one page of 4096 bytes, which some forty layer paths fill. The newer
calls hand the layers over one at a time ("lowerdir+", Linux 6.7), so any number up to overlayfs's
own limit of 500 mounts, at any path length.

Sources: Documentation/filesystems/overlayfs.rst, fsopen(2), fsconfig(2), fsmount(2), move_mount(2).
"""

from __future__ import annotations

import os

from minidock.kernel.fs_context import configure, create, open_context
from minidock.kernel.libc import path_bytes, syscall
from minidock.kernel.mount import AT_FDCWD, MOVE_MOUNT_F_EMPTY_PATH
from minidock.kernel.op import op, quote

FSMOUNT_CLOEXEC = 1

_HINT = "`minidock doctor` tells whether the store's file system can hold an overlay"


def _mount_overlay_sh(lowerdirs: list[str], upperdir: str, workdir: str, target: str) -> str:
    layers = " ".join(f"-o lowerdir+={quote(path)}" for path in lowerdirs)
    writes = f" -o upperdir={quote(upperdir)} -o workdir={quote(workdir)}" if upperdir else ""
    return f"mount -t overlay none {layers}{writes} {quote(target)}"


@op("mount(8)", twin=_mount_overlay_sh)
def mount_overlay(lowerdirs: list[str], upperdir: str, workdir: str, target: str) -> None:
    """Lay the container's writable layer over the image's layers, and mount the sum.

    Without it: each container needs a copy of its image, in time and on disk; or several write into
    one tree.

    lowerdirs: topmost first. upperdir, workdir: empty directories on one file system at first use;
    both "" for a read-only mount. target: an existing directory.
    Raises KernelError: ENOENT for a missing layer, EINVAL for a file system that cannot be an upper
    layer (another overlay, NFS), ELOOP for layers that overlap.
    """
    mount = _overlay(lowerdirs, upperdir, workdir, subject=f"overlay {target}")
    try:
        syscall(
            "move_mount",
            mount,
            b"",
            AT_FDCWD,
            path_bytes(target),
            MOVE_MOUNT_F_EMPTY_PATH,
            subject=target,
        )
    finally:
        os.close(mount)


def _open_overlay_sh(lowerdirs: list[str], upperdir: str, workdir: str) -> str:
    return _mount_overlay_sh(lowerdirs, upperdir, workdir, "/mnt")  # a shell has no other way


@op("fsmount(2)", twin=_open_overlay_sh)
def open_overlay(lowerdirs: list[str], upperdir: str, workdir: str) -> int:
    """Lay a writable layer over others, and reach the sum by a descriptor: it is mounted nowhere.

    Without it: a command that is killed while it reads a container's files leaves a mount on the
    host.

    Returns a descriptor of its root: O_PATH, close-on-exec. With it the mount goes; a process that
    is killed leaves nothing. It must be fsmount(2)'s own: once that is closed the mount belongs to
    no namespace, each mntput(9) in it takes the lock of all mounts, and openat2(2) in it answers
    EAGAIN for ever where a link leads over "..". Errors and arguments: as `mount_overlay`.
    """
    return _overlay(lowerdirs, upperdir, workdir, subject="overlay")


def _overlay(lowerdirs: list[str], upperdir: str, workdir: str, *, subject: str) -> int:
    """A descriptor of a new overlay mount (O_PATH), which is in no mount namespace yet."""
    context = open_context("overlay")
    try:
        for path in lowerdirs:
            _configure(context, "lowerdir+", path)
        if upperdir:
            _configure(context, "upperdir", upperdir)
            _configure(context, "workdir", workdir)
        create(context, subject=subject)
        return syscall("fsmount", context, FSMOUNT_CLOEXEC, 0, subject=subject)
    finally:
        os.close(context)


def _configure(context: int, key: str, value: str) -> None:
    configure(
        context,
        key,
        value,
        subject=f"overlay {key}={value}",
        hint="minidock hands layers to overlayfs one by one, which Linux 6.7 and newer can take"
        if key == "lowerdir+"
        else _HINT,
    )
