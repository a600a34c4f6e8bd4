/* A name for the box: UTS and IPC namespaces, /etc/hostname, /etc/hosts. Yours to write. */
#include <errno.h>

#include "box.h"

/* On the host, after the options were parsed: box->hostname is the option's value, or NULL. */
void uts_choose_name(struct box *box)
{
    /* TODO: Which names are invalid? They are written to /etc/hosts: think of a newline in one.
     * TODO: Without --hostname, the name is one that no other box has. */
    (void)box;
}

/* Create UTS and IPC namespaces, set the host name, and write it to the files in /etc. */
void uts_inside(const struct box *box)
{
    /* TODO: unshare, sethostname
     * TODO: /etc/hostname and /etc/hosts. root_inside ran before: / is the box's root file system.
     *       But other boxes may use it at the same time: do not write to it. */
    errno = ENOSYS;
    fail("uts_inside", box->rootfs);
}
