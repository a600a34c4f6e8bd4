/* The root of the box: pivot_root. */
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "box.h"

/* Make box->rootfs the root of this mount namespace, and unmount the old root.
 *
 * chroot changes only the root directory of one process; all mounts stay. This replaces the root
 * mount of the namespace: afterwards the host's file system cannot be reached. */
void root_inside(struct box *box)
{
    /* pivot_root needs a mount point, not a directory. MS_REC: with the volumes mounted in it. */
    if (mount(box->rootfs, box->rootfs, NULL, MS_BIND | MS_REC, NULL) < 0)
        fail("bind", box->rootfs);
    if (chdir(box->rootfs) < 0)
        fail("chdir", box->rootfs);
    /* The old root is now mounted over the new one. */
    if (syscall(SYS_pivot_root, ".", ".") < 0)
        fail("pivot_root", box->rootfs);
    if (umount2(".", MNT_DETACH) < 0)
        fail("umount", "the old root");
    if (chdir("/") < 0)
        fail("chdir", "/");
}
