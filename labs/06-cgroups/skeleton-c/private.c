/* A mount table of its own for the box, from which nothing reaches the host's. */
#include <sched.h>
#include <sys/mount.h>

#include "box.h"

/* Leave for a new mount namespace, and cut it off: no mount goes over, in either direction.
 *
 * The copy of a shared mount is a peer of the original: what is mounted below the one appears below
 * the other. systemd makes / shared, so a namespace alone hides nothing. */
void private_inside(void)
{
    if (unshare(CLONE_NEWNS) < 0)
        fail("unshare", "CLONE_NEWNS");
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        fail("mount --make-rprivate", "/");
}
