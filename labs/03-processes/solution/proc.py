"""/proc of the box: it shows the processes of the box, and no others."""

import os

import linux


def inside(box):
    """Mount, in the box's root file system, a /proc for the PID namespace of this process.

    Before the root is changed: in a user namespace the kernel allows a new /proc only if another
    one is fully visible, and after pivot_root the host's is gone.
    """
    target = os.path.join(box.rootfs, "proc")
    os.makedirs(target, exist_ok=True)
    # By descriptor: if ROOTFS/proc were a symbolic link, mount would follow it out of the box.
    directory = os.open(target, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW)
    flags = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC
    linux.mount("proc", f"/proc/self/fd/{directory}", "proc", flags)
    os.close(directory)
