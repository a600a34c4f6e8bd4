"""A look around from inside a container: run by the host's Python in it, it prints what it found.

It has no imports of the tests' own, for its text is passed to `python -c`. What it prints is the
same for two containers that have the same isolation, whichever engine built them.
"""

import ctypes
import errno
import json
import os
import socket
import stat
import struct
import sys

LIBC = ctypes.CDLL(None, use_errno=True)
X86 = os.uname().machine == "x86_64"


def name_of(number):
    return errno.errorcode.get(number, str(number)) if number else "ok"


def tried(act, *arguments):
    """What an act that raises OSError came to."""
    try:
        act(*arguments)
    except OSError as error:
        return name_of(error.errno)
    return "ok"


def open_and_close(path, flags):
    os.close(os.open(path, flags, 0o600))


def call(x86, arm, *arguments):
    """A raw system call in a child with mounts of its own, so that a success does no harm here."""
    number = x86 if X86 else arm
    if number is None:
        return "absent"
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        LIBC.unshare(0x20000)  # fails wherever a mount would
        wanted = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
        result = LIBC.syscall(ctypes.c_long(number), *wanted)
        os.write(writing, struct.pack("i", ctypes.get_errno() if result < 0 else 0))
        os._exit(0)
    os.close(writing)
    said = os.read(reading, 4)
    os.close(reading)
    _, status = os.waitpid(pid, 0)
    return name_of(struct.unpack("i", said)[0]) if said else f"killed by {os.WTERMSIG(status)}"


def system_calls():
    page = ctypes.create_string_buffer(4096)
    attr = ctypes.create_string_buffer(128)
    attr[4:8] = struct.pack("I", 128)
    return {
        "mount tmpfs": call(165, 40, b"none", b"/tmp", b"tmpfs", 0, None),
        "mount bind": call(165, 40, b"/etc", b"/tmp", None, 0x1000, None),
        "remount root": call(165, 40, None, b"/", None, 0x20 | 0x1000, None),
        "make shared": call(165, 40, None, b"/", None, 0x100000, None),
        "umount /proc": call(166, 39, b"/proc", 2),
        "pivot_root": call(155, 41, b"/tmp", b"/tmp"),
        "chroot": call(161, 51, b"/tmp"),
        "open_tree": call(428, 428, -100, b"/", 1),
        "fsopen": call(430, 430, b"tmpfs", 0),
        "mount_setattr": call(442, 442, -100, b"/nonexistent", 0, page, 32),
        "unshare user": call(272, 97, 0x10000000),
        "unshare mount": call(272, 97, 0x20000),
        "unshare net": call(272, 97, 0x40000000),
        "unshare cgroup": call(272, 97, 0x2000000),
        "unshare nothing": call(272, 97, 0),
        "clone3": call(435, 435, None, 0),
        "clone user": call(56, 220, 0x10000000 | 17, 0, 0, 0, 0),
        "setns": call(308, 268, 99, 0),
        "ptrace traceme": call(101, 117, 0, 0, 0, 0),
        "process_vm_readv": call(310, 270, os.getpid(), None, 0, None, 0, 0),
        "pidfd_getfd": call(438, 438, 99, 0, 0),
        "reboot": call(169, 142, 0xFEE1DEAD, 672274793, 0x12345, None),
        "kexec_load": call(246, 104, 0, 0, None, 99),
        "kexec_file_load": call(320, 294, 99, 98, 0, None, 99),
        "init_module": call(175, 105, page, 0, b""),
        "finit_module": call(313, 273, 99, b"", 0),
        "delete_module": call(176, 106, b"nonexistent", 0),
        "keyctl": call(250, 219, 0, -3, 0),
        "add_key": call(248, 217, b"user", b"x", b"y", 1, 99),
        "request_key": call(249, 218, b"user", b"nonexistent", None, 0),
        "bpf": call(321, 280, 0, page, 4096),
        "bpf map": call(321, 280, 5, attr, 48),
        "perf_event_open": call(298, 241, attr, 0, -1, -1, 0),
        "userfaultfd": call(323, 282, 0),
        "io_uring_setup": call(425, 425, 0, page),
        "fanotify_init": call(300, 262, 0, 0),
        "syslog": call(103, 116, 3, page, 10),
        "swapon": call(167, 224, b"/nonexistent", 0),
        "acct": call(163, 89, b"/nonexistent"),
        "quotactl": call(179, 60, 0, None, 0, None),
        "settimeofday": call(164, 170, None, None),
        "clock_settime": call(227, 112, 99, page),
        "adjtimex": call(159, 171, page),
        "sethostname": call(170, 161, b"box", 3),
        "iopl": call(172, None, 99),
        "ioperm": call(173, None, 0, 1, 0),
        "modify_ldt": call(154, None, 0, page, 0),
        "arch_prctl": call(158, None, 0x9999, 0),
        "open_by_handle_at": call(304, 265, -100, page, 0),
        "name_to_handle_at": call(303, 264, -100, b"/", page, page, 0),
        "lookup_dcookie": call(212, 18, 0, page, 10),
        "nfsservctl": call(180, 42, 0, None, None),
        "vhangup": call(153, 58) if "--hangup" in sys.argv else "not tried",
        "personality 32": call(135, 92, 8),
        "personality odd": call(135, 92, 0x40000),
        "move_pages": call(279, 239, 0, 0, None, None, None, 0),
        "mbind": call(237, 235, page, 0, 0, None, 0, 0),
        "set_mempolicy": call(238, 237, 0, None, 0),
        "get_mempolicy": call(239, 236, None, None, 0, None, 0),
        "kcmp": call(312, 272, os.getpid(), os.getpid(), 0, 0, 0),
        "seccomp": call(317, 277, 99, 0, None),
        "memfd_secret": call(447, 447, 0),
        "landlock": call(444, 444, None, 0, 1),
        "process_madvise": call(440, 440, 99, None, 0, 0, 0),
        "unknown call": call(900, 900),
        "setuid 7": call(105, 146, 7),
        "setgid 7": call(106, 144, 7),
        "setgroups": call(116, 159, 1, struct.pack("I", 7)),
        "chown": call(92, 54, b"/tmp", 5, 5) if X86 else call(None, 54, -100, b"/tmp", 5, 5, 0),
        "nice -5": call(141, 140, 0, 0, -5),
        "real time": call(144, 119, 0, 2, struct.pack("I", 1)),
        "mlockall": call(151, 230, 1),
        "AF_VSOCK": call(41, 198, 40, 1, 0),
        "AF_ALG": call(41, 198, 38, 5, 0),
        "AF_PACKET": call(41, 198, 17, 3, 0),
        "raw socket": call(41, 198, 2, 3, 1),
        "netlink audit": call(41, 198, 16, 3, 9),
        "mknod char": tried(
            lambda: (os.mknod("/tmp/n", 0o20666, os.makedev(1, 3)), os.unlink("/tmp/n"))
        ),
        "mknod fifo": tried(lambda: (os.mkfifo("/tmp/f"), os.unlink("/tmp/f"))),
        "setxattr trusted": tried(lambda: os.setxattr("/tmp", "trusted.x", b"1")),
        "setxattr capability": tried(
            lambda: os.setxattr(
                "/etc/group",
                "security.capability",
                bytes.fromhex("0100000200000000000000000000000000000000"),
            )
        ),
        "bind port 80": tried(low_port),
        "setrlimit up": call(160, 164, 7, struct.pack("QQ", 1 << 20, 1 << 30)),
    }


def low_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 80))


def devices():
    """Each node: may it be made, and opened? Nothing is read or written."""
    found = {}
    for kind, major, minor in [
        ("c", 1, 1),
        ("c", 1, 2),
        ("c", 1, 3),
        ("c", 1, 4),
        ("c", 1, 5),
        ("c", 1, 7),
        ("c", 1, 8),
        ("c", 1, 9),
        ("c", 1, 11),
        ("c", 4, 1),
        ("c", 4, 64),
        ("c", 5, 0),
        ("c", 5, 1),
        ("c", 5, 2),
        ("c", 10, 200),
        ("c", 10, 229),
        ("c", 10, 237),
        ("c", 10, 232),
        ("b", 7, 0),
        ("b", 8, 0),
        ("b", 254, 0),
        ("b", 259, 0),
    ]:
        path = "/dev/probe"
        mode = {"c": stat.S_IFCHR, "b": stat.S_IFBLK}[kind] | 0o666
        made = tried(os.mknod, path, mode, os.makedev(major, minor))
        if made == "ok":
            flags = os.O_NONBLOCK | os.O_NOCTTY
            made = " ".join(
                tried(open_and_close, path, f | flags) for f in (os.O_RDONLY, os.O_WRONLY)
            )
            os.unlink(path)
        found[f"{kind} {major}:{minor}"] = made
    return found


def nodes():
    found = {}
    for name in sorted(os.listdir("/dev")):
        if name == "core" and not os.path.exists("/proc/kcore"):
            continue  # a link that leads nowhere is no hole
        status = os.lstat(f"/dev/{name}")
        where = os.readlink(f"/dev/{name}") if stat.S_ISLNK(status.st_mode) else ""
        rdev = f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
        found[name] = (
            f"{stat.filemode(status.st_mode)} {status.st_uid}:{status.st_gid} {rdev} {where}"
        )
    return found


WRITES = [
    "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/hostname", "/proc/sys/vm/drop_caches",
    "/proc/sys/net/ipv4/ip_forward", "/proc/sys/fs/mqueue/msg_max", "/proc/sys/kernel/shmmax",
    "/proc/sysrq-trigger", "/proc/irq/default_smp_affinity", "/proc/bus/pci/devices",
    "/proc/fs/nfsd", "/proc/kcore", "/proc/kmsg", "/proc/keys", "/proc/timer_list", "/proc/acpi",
    "/proc/scsi", "/proc/asound", "/proc/mtrr", "/proc/interrupts", "/proc/self/oom_score_adj",
    "/proc/self/attr/current",
    "/proc/self/uid_map", "/proc/self/setgroups", "/proc/1/mem", "/proc/1/environ",
    "/sys/kernel/uevent_helper", "/sys/kernel/mm/transparent_hugepage/enabled", "/sys/power/state",
    "/sys/kernel/debug/x", "/sys/firmware/x", "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    "/sys/fs/cgroup/devices/devices.allow", "/sys/fs/cgroup/cgroup.procs",
    "/sys/fs/cgroup/pids/cgroup.procs",
    "/sys/fs/cgroup/memory/release_agent", "/sys/class/net/lo/mtu", "/etc/hosts", "/etc/hostname",
    "/etc/resolv.conf", "/etc/new", "/dev/new", "/dev/shm/new", "/dev/mqueue/new", "/tmp/new",
    "/new",
]  # fmt: skip


def writes():
    found = {}
    for path in WRITES:
        made = path.endswith("new")
        found[path] = tried(open_and_close, path, os.O_WRONLY | (os.O_CREAT if made else 0))
        if made:
            tried(os.unlink, path)  # with --ipc host this one's /dev/shm is the host's
    return found


def masked():
    """What reading a path of the host's secrets gives: an error, or how much."""
    found = {}
    for path in [
        "/proc/asound",
        "/proc/acpi",
        "/proc/kcore",
        "/proc/keys",
        "/proc/latency_stats",
        "/proc/timer_list",
        "/proc/timer_stats",
        "/proc/sched_debug",
        "/proc/scsi",
        "/proc/interrupts",
        "/sys/firmware",
        "/sys/devices/virtual/powercap",
        "/sys/devices/system/cpu/cpu0/thermal_throttle",
        "/proc/kallsyms",
        "/proc/kmsg",
    ]:
        try:
            if os.path.isdir(path):
                found[path] = f"{len(os.listdir(path))} entries"
            else:
                with open(path, "rb") as file:
                    os.set_blocking(file.fileno(), False)
                    found[path] = "something" if file.read(100) else "empty"
        except OSError as error:
            found[path] = name_of(error.errno)
    return found


def mounts():
    """Mount point -> type and options, of what every container has."""
    found = {}
    with open("/proc/self/mountinfo") as file:
        for line in file:
            left, _, right = line.partition(" - ")
            point, options, *shared = left.split()[4:]
            fstype, _, super_options = right.split(" ", 2)
            if not point.startswith(("/proc", "/sys", "/dev", "/etc/")) and point != "/":
                continue
            words = {
                w
                for w in super_options.strip().split(",")
                if not w.startswith(
                    (
                        "inode",
                        "lower",
                        "upper",
                        "work",
                        "uuid",
                        "xino",
                        "redirect",
                        "index",
                        "metacopy",
                    )
                )
            }
            kinds = " ".join(s.split(":")[0] for s in shared)
            if point == "/" or point.startswith("/etc/"):
                words, fstype = set(), ""
            found[point] = [fstype, sorted(options.split(",")), sorted(words), kinds]
    return found


def status():
    wanted = (
        "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Uid",
        "Gid", "Groups",
        "SigBlk", "SigIgn", "Umask", "Speculation_Store_Bypass",
    )  # fmt: skip
    with open("/proc/self/status") as file:
        lines = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    return {name: lines.get(name, "").strip() for name in wanted}


def device_rules():
    try:
        with open("/sys/fs/cgroup/devices/devices.list") as file:
            return sorted(file.read().split("\n"))
    except OSError as error:
        return [name_of(error.errno)]


def setting(name):
    with open(f"/proc/sys/{name}") as file:
        return file.read().strip()


def surroundings():
    with open("/proc/self/cgroup") as file:
        cgroup = sorted({line.rstrip("\n").split(":", 2)[2] for line in file})
    return {
        "descriptors": sorted(int(n) for n in os.listdir("/proc/self/fd"))[:3],
        "directory": os.getcwd(),
        "variables": sorted(os.environ),
        "cgroup": cgroup,
        "oom": open("/proc/self/oom_score_adj").read().strip(),
        "nice": os.nice(0),
        "session": os.getsid(0) == os.getpid(),
        "personality": LIBC.personality(0xFFFFFFFF),
        "processors": len(os.sched_getaffinity(0)),
        "ports": setting("net/ipv4/ip_unprivileged_port_start"),
        "pings": setting("net/ipv4/ping_group_range"),
    }


# Acts that change what the later ones see come last.
print(
    json.dumps(
        {
            "status": status(),
            "mounts": mounts(),
            "nodes": nodes(),
            "surroundings": surroundings(),
            "masked": masked(),
            "device rules": device_rules(),
            "devices": devices(),
            "writes": writes(),
            "system calls": system_calls(),
        }
    )
)
