/* A name for the box: UTS and IPC namespaces, /etc/hostname, /etc/hosts. Yours to write. */
#include <errno.h>

#include "box.h"

/* On the host, when the options have been read: box->hostname is what was given, or NULL. */
void uts_choose_name(struct box *box)
{
    /* TODO: What is no name? It will stand in /etc/hosts: think of a name with a line's end in it.
     * TODO: Who gives no --hostname gets a name that no other box has. */
    (void)box;
}

/* Leave for new UTS and IPC namespaces, name the one, and tell so to those who look into /etc. */
void uts_inside(const struct box *box)
{
    /* TODO: unshare, sethostname
     * TODO: /etc/hostname and /etc/hosts. root_inside came before: / is the box's root file system.
     *       But other boxes may be using it at this moment: you cannot just write into it. */
    errno = ENOSYS;
    fail("uts_inside", box->rootfs);
}
