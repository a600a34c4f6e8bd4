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

/* Given: a capability's place in this list is its number, see capabilities(7). */
static const char *const names[] = {
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID",
    "SETPCAP", "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW",
    "IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT",
    "SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD",
    "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG",
    "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF", "CHECKPOINT_RESTORE",
};

/* Given: what Docker leaves to root of a container that asks for nothing. */
static const char *const by_default[] = {
    "CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID",
    "SETFCAP", "SETPCAP", "NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE",
};

/* Given: this machine, as linux/audit.h calls it; the bit in the numbers of x86's third table. */
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

/* Given: the bit of a capability as Docker lets one write it: cap_chown, CHOWN, ALL. */
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
    fail("no capability:", name);
}

/* Given: hand the filter to the kernel, which keeps a copy; nobody can take it off again. */
static void install(struct sock_filter *filter, unsigned short length)
{
    struct sock_fprog program = { .len = length, .filter = filter };
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
        fail("prctl", "PR_SET_SECCOMP");
}

/* The capabilities that the box keeps: Docker's, and what --cap-add and --cap-drop make of them. */
static uint64_t kept(const struct box *box)
{
    uint64_t mask = 0;
    for (size_t i = 0; i < COUNT(by_default); i++)
        mask |= privileges_read(by_default[i]);
    /* TODO: box->cap_add, box->cap_drop. EVERY_CAPABILITY may be in either. */
    (void)box;
    return mask;
}

/* Take all other capabilities out of the bounding set. */
static void keep_only(uint64_t mask)
{
    /* TODO: PR_CAPBSET_DROP, for each number that PR_CAPBSET_READ knows */
    (void)mask;
    errno = ENOSYS;
    fail("keep_only", "");
}

/* The kernel runs this at every system call, on struct seccomp_data; what it returns is done. */
static struct sock_filter filter[] = {
    LOAD(nr),
    /* TODO: which table is the number from? And which calls fail with EPERM?
     * SYS_mount and so on are in sys/syscall.h. */
    RETURN(SECCOMP_RET_ALLOW),
};

/* Last of all but PID 1's duties, since what stands here could not be done with what it leaves. */
void privileges_inside(const struct box *box)
{
    /* TODO: no_new_privs. And is this an order in which each is still allowed? */
    install(filter, COUNT(filter));
    keep_only(kept(box));
}
