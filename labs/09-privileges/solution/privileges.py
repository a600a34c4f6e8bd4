"""--cap-add, --cap-drop, no_new_privs and a seccomp filter: the privileges of the box's root."""

import argparse
import ctypes
import os
import struct

import linux

# Given: the index of a capability in this list is its number, see capabilities(7).
CAPABILITIES = """
    CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE
    NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO
    SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME
    SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG
    WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE
""".split()
# Given: the capabilities of root in a container of Docker, by default.
DEFAULT = """
    CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE
    SYS_CHROOT KILL AUDIT_WRITE
""".split()

# Given: the numbers of system calls, and of the two architectures (linux/audit.h).
MACHINE = os.uname().machine
AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}[MACHINE]
X32_BIT = 0x40000000  # set in the numbers of x32 system calls, x86's third ABI
CLONE, CLONE3 = {"x86_64": (56, 435), "aarch64": (220, 435)}[MACHINE]
COLUMN = ("x86_64", "aarch64").index(MACHINE)
REFUSED = {  # name: number on x86_64, number on aarch64
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "unshare": (272, 97),
    "setns": (308, 268), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
    "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433),
    "mount_setattr": (442, 442), "ptrace": (101, 117), "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271), "reboot": (169, 142), "kexec_load": (246, 104),
    "kexec_file_load": (320, 294), "init_module": (175, 105), "finit_module": (313, 273),
    "delete_module": (176, 106), "keyctl": (250, 219), "add_key": (248, 217),
    "request_key": (249, 218), "bpf": (321, 280), "perf_event_open": (298, 241),
    "userfaultfd": (323, 282), "open_by_handle_at": (304, 265), "swapon": (167, 224),
    "swapoff": (168, 225), "settimeofday": (164, 170), "clock_settime": (227, 112),
}  # fmt: skip
NEW_NAMESPACES = 0x7E020000  # every CLONE_NEW... that clone(2) knows

# Given: instructions of classic BPF (linux/bpf_common.h), and offsets in struct seccomp_data.
LOAD, JUMP_IF_EQUAL, JUMP_IF_AT_LEAST, JUMP_IF_ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
NUMBER, ARCH, FIRST_ARGUMENT = 0, 4, 16
ALLOW, KILL, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000  # ERRNO + number: the call fails with it
EPERM, ENOSYS = 1, 38
SECCOMP_MODE_FILTER = 2


def options(parser):
    """--cap-add and --cap-drop, both repeatable: box.cap_add, box.cap_drop are lists."""
    for option in ("--cap-add", "--cap-drop"):
        parser.add_argument(option, metavar="NAME", type=known, action="append", default=[])


def known(name):
    """Parse a capability in one of Docker's spellings: cap_chown, CHOWN, ALL."""
    name = name.upper().removeprefix("CAP_")
    if name == "ALL" or name in CAPABILITIES:
        return name
    raise argparse.ArgumentTypeError(f"{name!r} is not a capability: see capabilities(7)")


def inside(box):
    """The last part: the others need the privileges that it drops.

    What is dropped here stays dropped for the command and all of its children.
    """
    keep_only(kept(box.cap_add, box.cap_drop))
    linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
    install(filter_program())


# Capabilities ------------------------------------------------------------------------------------


def kept(add, drop):
    """As in Docker: ALL added keeps all but the dropped ones, ALL dropped only the added ones."""
    if "ALL" in add:
        return set(CAPABILITIES) - set(drop)
    if "ALL" in drop:
        return set(add)
    return set(DEFAULT) - set(drop) | set(add)


def keep_only(names):
    """Drop all other capabilities from the bounding set, from which execve computes those of root.

    So execve drops the others, and no program of the box, not even a setuid one, gets them again.
    """
    numbers = {CAPABILITIES.index(name) for name in names}
    with open("/proc/sys/kernel/cap_last_cap") as file:
        last = int(file.read())  # a newer kernel may have more than this list
    for number in range(last + 1):
        if number not in numbers:
            linux.prctl(linux.PR_CAPBSET_DROP, number)


# The filter --------------------------------------------------------------------------------------


def filter_program():
    """The filter in the kernel's format: an array of struct sock_filter, 8 bytes each.

    An instruction is (code, instructions to skip if true, if false, constant).
    The kernel runs this at every system call, on struct seccomp_data, and obeys its result.
    """
    program = [
        # A 64-bit process may also use the 32-bit system call table, where mount is 21.
        (LOAD, 0, 0, ARCH),
        (JUMP_IF_EQUAL, 1, 0, AUDIT_ARCH),
        (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, NUMBER),
        # x32 has the same arch; its mount is 165 + X32_BIT. aarch64 has no numbers that high.
        (JUMP_IF_AT_LEAST, 0, 1, X32_BIT),
        (RETURN, 0, 0, ERRNO + EPERM),
    ]
    for of_both in REFUSED.values():
        program += [(JUMP_IF_EQUAL, 0, 1, of_both[COLUMN]), (RETURN, 0, 0, ERRNO + EPERM)]
    program += [
        # clone3 has its flags in memory, which a filter cannot read. After ENOSYS the C library
        # uses clone, whose flags are in a register: the first argument.
        (JUMP_IF_EQUAL, 0, 1, CLONE3),
        (RETURN, 0, 0, ERRNO + ENOSYS),
        (JUMP_IF_EQUAL, 0, 3, CLONE),
        (LOAD, 0, 0, FIRST_ARGUMENT),
        (JUMP_IF_ANY_BIT, 0, 1, NEW_NAMESPACES),
        (RETURN, 0, 0, ERRNO + EPERM),
        (RETURN, 0, 0, ALLOW),
    ]
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


def install(program):
    """Install the filter: the kernel keeps a copy, and it cannot be removed."""
    instructions = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: number of instructions, and address. @: aligned as in C.
    described = struct.pack("@HP", len(program) // 8, ctypes.addressof(instructions))
    fprog = ctypes.create_string_buffer(described, len(described))
    linux.prctl(linux.PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(fprog))
