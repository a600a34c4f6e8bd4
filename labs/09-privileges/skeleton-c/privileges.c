/* --cap-add, --cap-drop, no_new_privs and a seccomp filter. Yours to write. */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "box.h"

/* Given: the index of a capability in this list is its number, see capabilities(7). */
static const char *const names[] = {
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID",
    "SETPCAP", "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW",
    "IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT",
    "SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD",
    "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG",
    "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF", "CHECKPOINT_RESTORE",
};

/* Given: the capabilities of root in a container of Docker, by default. */
static const char *const by_default[] = {
    "CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID",
    "SETFCAP", "SETPCAP", "NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE",
};

/* Given: this architecture in linux/audit.h; the bit in the numbers of x86's third table, x32. */
#if defined(__x86_64__)
#define OUR_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define OUR_ARCH AUDIT_ARCH_AARCH64
#endif
#define X32_BIT 0x40000000

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* Given: every CLONE_NEW... that clone(2) knows. */
#define NEW_NAMESPACES (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC \
                        | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET)

/* Given: the instructions of a filter. Its only register is 32 bits wide. */
#define LOAD(field)       BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define IF_EQUAL(k, jt, jf)    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, k, jt, jf)
#define IF_AT_LEAST(k, jt, jf) BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, k, jt, jf)
#define IF_ANY_BIT(k, jt, jf)  BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, k, jt, jf)
#define RETURN(k)         BPF_STMT(BPF_RET | BPF_K, k)

/* Given: parse a capability in Docker's spellings: cap_chown, CHOWN, ALL. Returns its bit. */
uint64_t privileges_read(const char *name)
{
    if (strncasecmp(name, "CAP_", 4) == 0)
        name += 4;
    if (strcasecmp(name, "ALL") == 0)
        return EVERY_CAPABILITY;
    for (size_t number = 0; number < COUNT(names); number++)
        if (strcasecmp(name, names[number]) == 0)
            return UINT64_C(1) << number;
    errno = EINVAL;
    fail("not a capability:", name);
}

/* Given: install the filter: the kernel keeps a copy, and it cannot be removed. */
static void install(struct sock_filter *filter, unsigned short length)
{
    struct sock_fprog program = { .len = length, .filter = filter };
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
        fail("prctl", "PR_SET_SECCOMP");
}

/* The capabilities that the box keeps: Docker's, changed by --cap-add and --cap-drop. */
static uint64_t kept(const struct box *box)
{
    uint64_t mask = 0;
    for (size_t i = 0; i < COUNT(by_default); i++)
        mask |= privileges_read(by_default[i]);
    /* TODO: box->cap_add, box->cap_drop. EVERY_CAPABILITY may be in either. */
    (void)box;
    return mask;
}

/* Drop all other capabilities from the bounding set. */
static void keep_only(uint64_t mask)
{
    /* TODO: PR_CAPBSET_DROP, for each number that PR_CAPBSET_READ knows */
    (void)mask;
    errno = ENOSYS;
    fail("keep_only", "");
}

/* The kernel runs this at every system call, on struct seccomp_data, and obeys its result. */
static struct sock_filter filter[] = {
    LOAD(nr),
    /* TODO: which system call table is used? And which calls fail with EPERM?
     * SYS_mount and so on are in sys/syscall.h. */
    RETURN(SECCOMP_RET_ALLOW),
};

/* The last part before init: the others need the privileges that it drops. */
void privileges_inside(const struct box *box)
{
    /* TODO: no_new_privs. And is this an order in which each is still allowed? */
    install(filter, COUNT(filter));
    keep_only(kept(box));
}
