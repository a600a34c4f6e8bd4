/* --memory, --pids, --cpus: what the box may use. Yours to write. */
#include <errno.h>
#include <unistd.h>

#include "box.h"

#define TOP "/sys/fs/cgroup"

/* Given: whether this machine has one tree for all controllers (v2), or one for each (v1). */
static bool is_v2(void)
{
    return access(TOP "/cgroup.controllers", F_OK) == 0;
}

/* On the host, before the child is created: create the box's cgroup, and write its limits. */
void cgroup_before(struct box *box)
{
    if (!box->memory && !box->pids && !box->cpus)
        return;
    /* TODO: mkdir, into box->cgroups too. On v2, cgroup.subtree_control first; on v1, in which tree?
     *       (getmntent and hasmntopt read /proc/self/mounts.) Then the files of each limit.
     *       What if one of them fails, and others exist already? */
    const char *version = is_v2() ? "on v2" : "on v1";
    errno = ENOSYS;
    fail("cgroup_before", version);
}

/* In the supervisor, before it has children: join the cgroup, create a cgroup namespace. */
void cgroup_inside(const struct box *box)
{
    /* TODO: cgroup.procs, where 0 is the writing process; unshare. In which order, and why? */
    (void)box;
}

/* On the host, at the end: remove the cgroup. */
void cgroup_after(struct box *box)
{
    /* TODO: rmdir, and what if the kernel says EBUSY? */
    (void)box;
}
