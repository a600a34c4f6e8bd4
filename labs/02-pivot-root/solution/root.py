"""The root of the box: pivot_root."""

import os

import linux


def inside(box):
    """Make box.rootfs the root of this mount namespace, and unmount the old root.

    chroot changes only the root directory of one process; all mounts stay. This replaces the root
    mount of the namespace: afterwards the host's file system cannot be reached.
    """
    # pivot_root needs a mount point, not a directory. MS_REC: with the volumes mounted in it.
    linux.mount(box.rootfs, box.rootfs, "", linux.MS_BIND | linux.MS_REC)
    os.chdir(box.rootfs)
    linux.pivot_root(".", ".")  # the old root is now mounted over the new one
    linux.umount2(".", linux.MNT_DETACH)
    os.chdir("/")
