"""/proc of the box: it shows the processes of the box, and no others.

Yours to write.
"""


def inside(box):
    """Mount, in the box's root file system, a /proc for the PID namespace of this process."""
    # TODO: linux.mount, of type "proc". root.inside comes later: box.rootfs is not the root yet.
