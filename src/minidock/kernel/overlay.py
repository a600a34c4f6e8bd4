"""overlayfs: an image's read-only layers and a container's own writes, merged into one tree.

A lookup searches upperdir, then the lowerdirs from the top down. The first write to a file of a
lower layer copies it up. A removed file is a *whiteout* in the upper layer (a character device
0/0), and a directory that hides all below it has the attribute trusted.overlay.opaque.

mount(2) takes its options in one page of 4096 bytes, which about forty layer paths fill. The newer
calls pass the layers one at a time ("lowerdir+", Linux 6.7), so any number up to overlayfs's own
limit of 500 works, with paths of any length.

Sources: Documentation/filesystems/overlayfs.rst, fsopen(2), fsconfig(2), fsmount(2), move_mount(2).
"""

from __future__ import annotations

import os

from minidock.kernel.fs_context import configure, create, open_context
from minidock.kernel.libc import path_bytes, syscall
from minidock.kernel.mount import AT_FDCWD, MOVE_MOUNT_F_EMPTY_PATH
from minidock.kernel.op import op, quote

FSMOUNT_CLOEXEC = 1

_HINT = "`minidock doctor` shows whether the store's file system supports an overlay"


def _mount_overlay_sh(lowerdirs: list[str], upperdir: str, workdir: str, target: str) -> str:
    layers = " ".join(f"-o lowerdir+={quote(path)}" for path in lowerdirs)
    writes = f" -o upperdir={quote(upperdir)} -o workdir={quote(workdir)}" if upperdir else ""
    return f"mount -t overlay none {layers}{writes} {quote(target)}"


@op("mount(8)", twin=_mount_overlay_sh)
def mount_overlay(lowerdirs: list[str], upperdir: str, workdir: str, target: str) -> None:
    """Mount the container's writable layer on top of the image's layers.

    Without it: each container needs its own copy of the image, which costs time and disk space; or
    several containers write to one tree.

    lowerdirs: topmost first. upperdir, workdir: empty directories on one file system at first use;
    both are "" for a read-only mount. target: an existing directory.
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
    """Mount a writable layer on top of others, detached: only a descriptor refers to the mount.

    Without it: a command that is killed while it reads a container's files leaves a mount on the
    host.

    Returns a descriptor of its root: O_PATH, close-on-exec. Closing it unmounts; a killed process
    leaves nothing. It must be the descriptor of fsmount(2) itself: once that is closed the mount
    belongs to no namespace, each mntput(9) in it takes the lock of all mounts, and openat2(2) in it
    fails with EAGAIN for ever if a link leads over "..". Errors and arguments: as `mount_overlay`.
    """
    return _overlay(lowerdirs, upperdir, workdir, subject="overlay")


def _overlay(lowerdirs: list[str], upperdir: str, workdir: str, *, subject: str) -> int:
    """Create a detached overlay mount; returns its descriptor (O_PATH)."""
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
        hint="minidock passes layers to overlayfs one by one, which needs Linux 6.7"
        if key == "lowerdir+"
        else _HINT,
    )
