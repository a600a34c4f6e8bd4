"""/proc: what tells the processes of the box about each other, and about nobody else."""

import os

import linux


def inside(box):
    """Mount, in the box's root file system, a /proc that shows the PID namespace of its mounter.

    Before the root is changed, not after: in a user namespace the kernel gives a new /proc only to
    those who can see a whole one already, and this is the last moment at which the host's is there.
    """
    target = os.path.join(box.rootfs, "proc")
    os.makedirs(target, exist_ok=True)
    # By descriptor: were ROOTFS/proc a symbolic link, mount would follow it out of the box.
    directory = os.open(target, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW)
    flags = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC
    linux.mount("proc", f"/proc/self/fd/{directory}", "proc", flags)
    os.close(directory)
