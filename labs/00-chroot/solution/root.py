"""The root of the box: chroot."""

import os


def inside(box):
    """Make box.rootfs the root directory of this process and its children."""
    os.chroot(box.rootfs)
    os.chdir("/")  # otherwise the working directory stays outside
