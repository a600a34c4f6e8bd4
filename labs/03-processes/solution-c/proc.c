/* /proc of the box: it shows the processes of the box, and no others. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "box.h"

/* Mount, in the box's root file system, a /proc for the PID namespace of this process.
 *
 * Before the root is changed: in a user namespace the kernel allows a new /proc only if another one
 * is fully visible, and after pivot_root the host's is gone. */
void proc_inside(const struct box *box)
{
    int rootfs = open(box->rootfs, O_PATH | O_CLOEXEC);
    if (rootfs < 0)
        fail("open", box->rootfs);
    if (mkdirat(rootfs, "proc", 0755) < 0 && errno != EEXIST)
        fail("mkdir", "/proc");
    /* By descriptor: if ROOTFS/proc were a symbolic link, mount would follow it out of the box. */
    int directory = openat(rootfs, "proc", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (directory < 0)
        fail("open", "/proc");
    char target[32];
    snprintf(target, sizeof target, "/proc/self/fd/%d", directory);
    if (mount("proc", target, "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
        fail("mount proc", target);
    close(directory);
    close(rootfs);
}
