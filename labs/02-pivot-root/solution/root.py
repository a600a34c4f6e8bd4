"""The root of the box: pivot_root."""

import os

import linux


def inside(box):
    """Make box.rootfs the root of this mount namespace, and take the old root away.

    A chroot moves one process's idea of /; the mount table behind it stays whole. This replaces
    what the table hangs from: afterwards there is nothing of the host to escape to.
    """
    # pivot_root takes a mount, not a directory. MS_REC: with the volumes that are mounted in it.
    linux.mount(box.rootfs, box.rootfs, "", linux.MS_BIND | linux.MS_REC)
    os.chdir(box.rootfs)
    linux.pivot_root(".", ".")  # the old root now lies over the new one, at the same place
    linux.umount2(".", linux.MNT_DETACH)
    os.chdir("/")
