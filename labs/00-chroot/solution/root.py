"""The root of the box: chroot."""

import os


def inside(box):
    """Make box.rootfs the directory that / means for this process and all that it starts."""
    os.chroot(box.rootfs)
    os.chdir("/")  # or the working directory is still outside: and chroot confines nothing
