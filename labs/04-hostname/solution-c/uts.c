/* A name for the box: UTS and IPC namespaces, /etc/hostname, /etc/hosts. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "box.h"

enum { LONGEST = 64, DIGITS = 12 };

static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-";

/* Twelve random hexadecimal digits. */
static const char *any_name(void)
{
    static char name[DIGITS + 1];
    unsigned char bytes[DIGITS / 2];
    if (getrandom(bytes, sizeof bytes, 0) != sizeof bytes)
        fail("getrandom", "");
    for (size_t i = 0; i < sizeof bytes; i++)
        sprintf(name + 2 * i, "%02x", bytes[i]);
    return name;
}

/* On the host, after the options were parsed: box->hostname is the option's value, or NULL.
 *
 * A newline in a name would add a line to /etc/hosts. */
void uts_choose_name(struct box *box)
{
    if (!box->hostname) {
        box->hostname = any_name();
        return;
    }
    size_t length = strlen(box->hostname);
    errno = EINVAL;
    if (length < 1 || length > LONGEST || strspn(box->hostname, allowed) != length)
        fail("--hostname", "1 to 64 letters, digits, - and .");
}

/* Bind mount a file with this text over one of the root file system, which does not change: other
 * boxes use it. folder: a temporary mount point of a tmpfs. */
static void bind_over(const char *target, const char *folder, const char *text)
{
    char source[64];
    snprintf(source, sizeof source, "%s%s", folder, strrchr(target, '/'));
    int file = open(source, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (file < 0 || write(file, text, strlen(text)) < 0 || close(file) < 0)
        fail("write", source);
    int place = open(target, O_RDONLY | O_CREAT | O_CLOEXEC, 0644); /* a mount point */
    if (place < 0 || close(place) < 0)
        fail("open", target);
    if (mount(source, target, NULL, MS_BIND, NULL) < 0)
        fail("bind", target);
}

/* Create UTS and IPC namespaces, set the host name, and write it to the files in /etc.
 *
 * The files are in a tmpfs, which is unmounted again, and exists as long as the bind mounts. */
void uts_inside(const struct box *box)
{
    if (unshare(CLONE_NEWUTS | CLONE_NEWIPC) < 0)
        fail("unshare", "CLONE_NEWUTS | CLONE_NEWIPC");
    if (sethostname(box->hostname, strlen(box->hostname)) < 0)
        fail("sethostname", box->hostname);
    char hostname[LONGEST + 2], hosts[LONGEST + 64];
    snprintf(hostname, sizeof hostname, "%s\n", box->hostname);
    snprintf(hosts, sizeof hosts, "127.0.0.1\tlocalhost\n::1\tlocalhost\n127.0.1.1\t%s\n",
             box->hostname);
    if (mkdir("/etc", 0755) < 0 && errno != EEXIST)
        fail("mkdir", "/etc");
    if (mount("files", "/proc", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
        fail("mount tmpfs", "/proc");
    bind_over("/etc/hostname", "/proc", hostname);
    bind_over("/etc/hosts", "/proc", hosts);
    if (umount("/proc") < 0)
        fail("umount", "/proc");
}
