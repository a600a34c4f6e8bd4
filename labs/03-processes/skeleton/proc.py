"""/proc: what tells the processes of the box about each other, and about nobody else.

Yours to write.
"""


def inside(box):
    """Mount, in the box's root file system, a /proc that shows the PID namespace of its mounter."""
    # TODO: linux.mount, of type "proc". root.inside comes later: box.rootfs is not the root yet.
