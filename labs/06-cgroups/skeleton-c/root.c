/* The root of the box: pivot_root. */
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "box.h"

/* Make box->rootfs the root of this mount namespace, and take the old root away.
 *
 * A chroot moves one process's idea of /; the mount table behind it stays whole. This replaces what
 * the table hangs from: afterwards there is nothing of the host to escape to. */
void root_inside(struct box *box)
{
    /* pivot_root takes a mount, not a directory. MS_REC: with the volumes that are mounted in it. */
    if (mount(box->rootfs, box->rootfs, NULL, MS_BIND | MS_REC, NULL) < 0)
        fail("bind", box->rootfs);
    if (chdir(box->rootfs) < 0)
        fail("chdir", box->rootfs);
    /* The old root now lies over the new one, at the same place. */
    if (syscall(SYS_pivot_root, ".", ".") < 0)
        fail("pivot_root", box->rootfs);
    if (umount2(".", MNT_DETACH) < 0)
        fail("umount", "the old root");
    if (chdir("/") < 0)
        fail("chdir", "/");
}
