/* A mount namespace for the box, from which no mount propagates to the host. */
#include <sched.h>
#include <sys/mount.h>

#include "box.h"

/* Create a mount namespace with private mounts: no mount propagates, in either direction.
 *
 * The copy of a shared mount is a peer of the original: a mount below one appears below the other.
 * systemd makes / shared, so a new namespace alone isolates nothing. */
void private_inside(void)
{
    if (unshare(CLONE_NEWNS) < 0)
        fail("unshare", "CLONE_NEWNS");
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        fail("mount --make-rprivate", "/");
}
