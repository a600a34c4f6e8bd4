/* The root of the box: chroot. */
#include <unistd.h>

#include "box.h"

/* Make box->rootfs the root directory of this process and its children. */
void root_inside(struct box *box)
{
    if (chroot(box->rootfs) < 0)
        fail("chroot", box->rootfs);
    if (chdir("/") < 0)         /* otherwise the working directory stays outside */
        fail("chdir", "/");
}
