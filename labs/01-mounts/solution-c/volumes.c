/* Mounts of the box: --tmpfs DIR, and --volume HOST:DIR. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "box.h"

/* A path of an open file, for a system call that takes a path. */
struct name { char text[32]; };

/* A name for a path of the box: symbolic links are resolved as in the box.
 *
 * rootfs + path would be wrong: a link /data -> /etc of the rootfs leads to the host's /etc.
 * The descriptors stay open until execve closes them. */
static struct name inside_rootfs(const struct box *box, const char *path)
{
    struct open_how how = { .flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT };
    int rootfs = open(box->rootfs, O_PATH | O_CLOEXEC);
    if (rootfs < 0)
        fail("open", box->rootfs);
    int found = syscall(SYS_openat2, rootfs, path, &how, sizeof how);
    if (found < 0)
        fail("openat2", path);
    struct name name;
    snprintf(name.text, sizeof name.text, "/proc/self/fd/%d", found);
    return name;
}

/* A directory of the box to mount on; created if it is missing, with its parents. */
static struct name mount_point(const struct box *box, const char *directory)
{
    char path[PATH_MAX] = "/", child[PATH_MAX], rest[PATH_MAX];
    snprintf(rest, sizeof rest, "%s", directory);
    for (char *at, *part = strtok_r(rest, "/", &at); part; part = strtok_r(NULL, "/", &at)) {
        snprintf(child, sizeof child, "%s/%s", inside_rootfs(box, path).text, part);
        if (mkdir(child, 0755) < 0 && errno != EEXIST)
            fail("mkdir", directory);
        size_t end = strlen(path);
        snprintf(path + end, sizeof path - end, "%s/", part);
    }
    return inside_rootfs(box, path);
}

/* Mount an empty tmpfs, noexec. */
static void mount_tmpfs(const struct box *box, const char *directory)
{
    unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
    if (mount("tmpfs", mount_point(box, directory).text, "tmpfs", flags, "mode=1777") < 0)
        fail("mount tmpfs", directory);
}

/* Bind mount a directory of the host in the box, with all mounts below it. */
static void bind(const struct box *box, const struct volume *volume)
{
    struct name target = mount_point(box, volume->directory);
    if (mount(volume->host, target.text, NULL, MS_BIND | MS_REC, NULL) < 0)
        fail("bind", volume->host);
}

/* Make this mount read-only.
 *
 * A second call, since the kernel ignores MS_RDONLY when it creates a bind mount. With MS_BIND:
 * without it the file system would become read-only, for the host too. A remount replaces all
 * flags, so the current ones must be passed again (statvfs returns them as mount flags). */
static void make_read_only(const struct box *box, const char *directory)
{
    struct name mounted = inside_rootfs(box, directory);
    struct statvfs now;
    if (statvfs(mounted.text, &now) < 0)
        fail("statvfs", directory);
    unsigned long kept = now.f_flag & (MS_NOSUID | MS_NODEV | MS_NOEXEC);
    if (mount(NULL, mounted.text, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | kept, NULL) < 0)
        fail("remount", directory);
}

/* Mount them below box->rootfs, which is not the root yet. */
void volumes_inside(struct box *box)
{
    for (int i = 0; i < box->tmpfs_count; i++)
        mount_tmpfs(box, box->tmpfs[i]);
    for (int i = 0; i < box->volume_count; i++) {
        bind(box, &box->volumes[i]);
        if (box->volumes[i].read_only)
            make_read_only(box, box->volumes[i].directory);
    }
}
