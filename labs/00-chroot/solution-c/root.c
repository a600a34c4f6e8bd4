/* The root of the box: chroot. */
#include <unistd.h>

#include "box.h"

/* Make box->rootfs the directory that / means for this process and all that it starts. */
void root_inside(struct box *box)
{
    if (chroot(box->rootfs) < 0)
        fail("chroot", box->rootfs);
    if (chdir("/") < 0)         /* or the working directory is still outside */
        fail("chdir", "/");
}
