/* --memory, --pids, --cpus: what the box may use. */
#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "box.h"

#define TOP "/sys/fs/cgroup"

enum {
    LONGEST_TOP = 128,
    PERIOD = 100000,            /* microseconds in which the box may use its share */
    MOST_TRIES = 5000,          /* a millisecond each */
};

/* Whether this machine has one hierarchy for all controllers (v2), or one for each (v1). */
static bool is_v2(void)
{
    return access(TOP "/cgroup.controllers", F_OK) == 0;
}

/* Before the child is created: remove what was created, and exit. */
static _Noreturn void give_up(struct box *box, const char *what, const char *subject)
{
    int number = errno;
    cgroup_after(box);
    errno = number;
    fail(what, subject);
}

/* Write one value; false if that fails (errno). Without O_CREAT, with which the kernel reports a
 * missing file as EACCES instead of ENOENT. */
static bool write_value(const char *path, const char *value)
{
    int file = open(path, O_WRONLY | O_CLOEXEC);
    if (file < 0)
        return false;
    bool written = write(file, value, strlen(value)) >= 0;
    int number = errno;
    close(file);
    errno = number;
    return written;
}

/* The root of this controller's hierarchy. */
static void find_tree(struct box *box, const char *controller, char top[LONGEST_TOP])
{
    snprintf(top, LONGEST_TOP, "%s", TOP);
    if (is_v2())
        return;
    FILE *mounts = setmntent("/proc/self/mounts", "re");
    if (!mounts)
        give_up(box, "open", "/proc/self/mounts");
    bool found = false;
    for (struct mntent *line; !found && (line = getmntent(mounts));) {
        found = strcmp(line->mnt_type, "cgroup") == 0 && hasmntopt(line, controller);
        if (found)
            snprintf(top, LONGEST_TOP, "%s", line->mnt_dir);
    }
    endmntent(mounts);
    errno = ENOENT;
    if (!found)
        give_up(box, "a cgroup tree for", controller);
}

/* The box's directory for this controller, created if it is missing.
 *
 * On v2 the root must enable the controller first. A cgroup with processes cannot do that ("no
 * internal processes"), except the root of the whole hierarchy. So the boxes' cgroups are beside
 * that of this process, not below it. */
static const char *own_directory(struct box *box, const char *controller)
{
    char top[LONGEST_TOP];
    find_tree(box, controller, top);
    if (is_v2()) {
        char control[LONGEST_PATH], wanted[32];
        snprintf(control, sizeof control, "%s/cgroup.subtree_control", top);
        snprintf(wanted, sizeof wanted, "+%s", controller);
        if (!write_value(control, wanted))
            give_up(box, "write", control);
    }
    /* Each running box has a cgroup of its own, named by its pid. */
    char own[LONGEST_PATH];
    snprintf(own, sizeof own, "%s/box-%d", top, (int)getpid());
    for (int i = 0; i < box->cgroup_count; i++)
        if (strcmp(box->cgroups[i], own) == 0)
            return box->cgroups[i];
    if (mkdir(own, 0755) < 0)
        give_up(box, "mkdir", own);
    return strcpy(box->cgroups[box->cgroup_count++], own);
}

/* Set one limit. A swap limit is skipped if the kernel does not account swap. */
static void set(struct box *box, const char *controller, const char *file, long long value)
{
    char path[LONGEST_PATH + 64], text[64];
    snprintf(path, sizeof path, "%s/%s", own_directory(box, controller), file);
    if (strcmp(file, "cpu.max") == 0)
        snprintf(text, sizeof text, "%lld %d", value, PERIOD);
    else
        snprintf(text, sizeof text, "%lld", value);
    if (!write_value(path, text) && !(strstr(file, "sw") && errno == ENOENT))
        give_up(box, "write", path);
}

/* On the host, before the child is created: create the box's cgroup, and write its limits.
 *
 * Without a swap limit, memory above the limit is swapped out, and the OOM killer does not act. */
void cgroup_before(struct box *box)
{
    if (box->memory && is_v2()) {
        set(box, "memory", "memory.max", box->memory);
        set(box, "memory", "memory.swap.max", 0);        /* swap alone */
    } else if (box->memory) {
        set(box, "memory", "memory.limit_in_bytes", box->memory);
        set(box, "memory", "memory.memsw.limit_in_bytes", box->memory); /* memory and swap */
    }
    if (box->pids)
        set(box, "pids", "pids.max", box->pids);
    if (box->cpus && is_v2()) {
        set(box, "cpu", "cpu.max", box->cpus * PERIOD);
    } else if (box->cpus) {
        set(box, "cpu", "cpu.cfs_period_us", PERIOD);
        set(box, "cpu", "cpu.cfs_quota_us", box->cpus * PERIOD);
    }
}

/* In the supervisor, before it has children: join the cgroup, create a cgroup namespace.
 *
 * The root of the namespace is the cgroup of its creator at that moment: in the other order, the box
 * would see itself as /../box-71, beside the root. */
void cgroup_inside(const struct box *box)
{
    for (int i = 0; i < box->cgroup_count; i++) {
        char path[LONGEST_PATH + 32];
        snprintf(path, sizeof path, "%s/cgroup.procs", box->cgroups[i]);
        if (!write_value(path, "0"))    /* 0: the writing process */
            fail("write", path);
    }
    if (unshare(CLONE_NEWCGROUP) < 0)
        fail("unshare", "CLONE_NEWCGROUP");
}

/* On the host, at the end: remove the cgroup, which would stay until the next reboot.
 *
 * Just after a process ended, rmdir may fail with EBUSY. */
void cgroup_after(struct box *box)
{
    const struct timespec moment = { .tv_nsec = 1000000 };
    while (box->cgroup_count > 0) {
        const char *directory = box->cgroups[--box->cgroup_count];
        for (int tries = 0; rmdir(directory) < 0; tries++) {
            if (errno != EBUSY || tries == MOST_TRIES)
                fail("rmdir", directory);
            nanosleep(&moment, NULL);
        }
    }
}
