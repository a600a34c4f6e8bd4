/* The root of the box: pivot_root instead of chroot. Yours to write. */
#include <errno.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "box.h"

/* Make box->rootfs the root of this mount namespace, and unmount the old root. */
void root_inside(struct box *box)
{
    /* TODO: mount, pivot_root (which has no function in libc: syscall(SYS_pivot_root, ...)), umount2 */
    errno = ENOSYS;
    fail("root_inside", box->rootfs);
}
