/* --cap-add, --cap-drop, no_new_privs and a seccomp filter: the privileges of the box's root. */
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

/* The capabilities that the box keeps: Docker's, changed by --cap-add and --cap-drop.
 *
 * As in Docker: ALL added keeps all but the dropped ones, ALL dropped only the added ones. */
static uint64_t kept(const struct box *box)
{
    if (box->cap_add == EVERY_CAPABILITY)
        return box->cap_drop == EVERY_CAPABILITY ? EVERY_CAPABILITY : ~box->cap_drop;
    if (box->cap_drop == EVERY_CAPABILITY)
        return box->cap_add;
    uint64_t mask = 0;
    for (size_t i = 0; i < COUNT(by_default); i++)
        mask |= privileges_read(by_default[i]);
    return (mask & ~box->cap_drop) | box->cap_add;
}

/* Drop all other capabilities from the bounding set, from which execve computes those of root.
 *
 * So execve drops the others, and no program of the box, not even a setuid one, gets them again. */
static void keep_only(uint64_t mask)
{
    for (int number = 0; prctl(PR_CAPBSET_READ, number) >= 0; number++)
        if (!(mask >> number & 1) && prctl(PR_CAPBSET_DROP, number) < 0)
            fail("prctl", "PR_CAPBSET_DROP");
}

#define REFUSE(call) IF_EQUAL(call, 0, 1), RETURN(SECCOMP_RET_ERRNO | EPERM)

/* The kernel runs this at every system call, on struct seccomp_data, and obeys its result. */
static struct sock_filter filter[] = {
    /* A 64-bit process may also use the 32-bit system call table, where mount is 21. */
    LOAD(arch),
    IF_EQUAL(OUR_ARCH, 1, 0),
    RETURN(SECCOMP_RET_KILL_PROCESS),
    LOAD(nr),
    /* x32 has the same arch; its mount is 165 + X32_BIT. aarch64 has no numbers that high. */
    IF_AT_LEAST(X32_BIT, 0, 1),
    RETURN(SECCOMP_RET_ERRNO | EPERM),
    REFUSE(SYS_mount), REFUSE(SYS_umount2), REFUSE(SYS_pivot_root),
    REFUSE(SYS_open_tree), REFUSE(SYS_move_mount), REFUSE(SYS_fsopen), REFUSE(SYS_fsconfig),
    REFUSE(SYS_fsmount), REFUSE(SYS_fspick), REFUSE(SYS_mount_setattr),
    REFUSE(SYS_unshare), REFUSE(SYS_setns),
    REFUSE(SYS_ptrace), REFUSE(SYS_process_vm_readv), REFUSE(SYS_process_vm_writev),
    REFUSE(SYS_reboot), REFUSE(SYS_kexec_load), REFUSE(SYS_kexec_file_load),
    REFUSE(SYS_init_module), REFUSE(SYS_finit_module), REFUSE(SYS_delete_module),
    REFUSE(SYS_keyctl), REFUSE(SYS_add_key), REFUSE(SYS_request_key),
    REFUSE(SYS_bpf), REFUSE(SYS_perf_event_open), REFUSE(SYS_userfaultfd),
    REFUSE(SYS_open_by_handle_at), REFUSE(SYS_swapon), REFUSE(SYS_swapoff),
    REFUSE(SYS_settimeofday), REFUSE(SYS_clock_settime),
    /* clone3 has its flags in memory, which a filter cannot read. After ENOSYS the C library uses
     * clone, whose flags are in a register: the first argument. */
    IF_EQUAL(SYS_clone3, 0, 1),
    RETURN(SECCOMP_RET_ERRNO | ENOSYS),
    IF_EQUAL(SYS_clone, 0, 3),
    LOAD(args[0]),              /* its lower half: both machines are little-endian */
    IF_ANY_BIT(NEW_NAMESPACES, 0, 1),
    RETURN(SECCOMP_RET_ERRNO | EPERM),
    RETURN(SECCOMP_RET_ALLOW),
};

/* The last part before init: the others need the privileges that it drops.
 *
 * What is dropped here stays dropped for the command and all of its children. */
void privileges_inside(const struct box *box)
{
    keep_only(kept(box));
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        fail("prctl", "PR_SET_NO_NEW_PRIVS");
    install(filter, COUNT(filter));
}
