"""--memory, --pids, --cpus: what the box may use."""

import errno
import os
import time

import linux

TOP = "/sys/fs/cgroup"
PERIOD = 100000  # microseconds, of which the box may use a share
# Without a limit for swap, memory above the limit is swapped out, and the OOM killer does not act.
# These files are missing if the kernel does not account swap.
SWAP = ("memory.memsw.limit_in_bytes", "memory.swap.max")


def options(parser):
    parser.add_argument("--memory", type=int, metavar="BYTES", help="limit, page cache included")
    parser.add_argument("--pids", type=int, metavar="N", help="limit of processes and threads")
    parser.add_argument("--cpus", type=float, metavar="X", help="limit; 1.5 is one and a half CPUs")


def is_v2():
    """Whether this machine has one hierarchy for all controllers (v2), or one for each (v1)."""
    return os.path.exists(f"{TOP}/cgroup.controllers")


def before(box):
    """On the host, before the child is created: create the box's cgroup, and write its limits.

    box.cgroup are its directories: one on v2, one for each controller on v1.
    """
    box.cgroup = []
    limits = limits_v2(box) if is_v2() else limits_v1(box)
    # Each running box has a cgroup of its own, named by its pid.
    places = {name: f"{tree(name)}/box-{os.getpid()}" for name, _, _ in limits}
    if is_v2() and limits:
        enable_controllers(sorted(places))
    for directory in sorted(set(places.values())):
        os.mkdir(directory)
        box.cgroup.append(directory)
    for name, file, value in limits:
        if file not in SWAP or os.path.exists(f"{places[name]}/{file}"):
            write(f"{places[name]}/{file}", value)


def limits_v1(box):
    """The requested limits, as (controller, file, value)."""
    limits = []
    if box.memory is not None:
        limits.append(("memory", "memory.limit_in_bytes", box.memory))
        limits.append(("memory", "memory.memsw.limit_in_bytes", box.memory))  # memory and swap
    if box.pids is not None:
        limits.append(("pids", "pids.max", box.pids))
    if box.cpus is not None:
        limits.append(("cpu", "cpu.cfs_period_us", PERIOD))
        limits.append(("cpu", "cpu.cfs_quota_us", int(box.cpus * PERIOD)))
    return limits


def limits_v2(box):
    """The requested limits, as (controller, file, value)."""
    limits = []
    if box.memory is not None:
        limits.append(("memory", "memory.max", box.memory))
        limits.append(("memory", "memory.swap.max", 0))  # swap alone
    if box.pids is not None:
        limits.append(("pids", "pids.max", box.pids))
    if box.cpus is not None:
        limits.append(("cpu", "cpu.max", f"{int(box.cpus * PERIOD)} {PERIOD}"))
    return limits


def tree(controller):
    """The root of this controller's hierarchy."""
    if is_v2():
        return TOP
    with open("/proc/self/mounts") as mounts:
        for line in mounts:
            _, directory, kind, options, *_ = line.split()
            if kind == "cgroup" and controller in options.split(","):
                return directory
    raise OSError(errno.ENOENT, "no cgroup hierarchy is mounted for this controller", controller)


def enable_controllers(controllers):
    """v2: enable these controllers for the cgroups below the root.

    A cgroup with processes cannot enable controllers ("no internal processes"), except the root of
    the whole hierarchy. So the boxes' cgroups are beside that of this process, not below it.
    """
    write(f"{TOP}/cgroup.subtree_control", " ".join(f"+{name}" for name in controllers))


def beside(box):
    """On the host, while the child waits: move it to the cgroup; its children will be in it too."""
    for directory in box.cgroup:
        write(f"{directory}/cgroup.procs", box.pid)


def inside(box):
    """In the child: a cgroup namespace, in which the box's own cgroup is the root.

    Its root is the cgroup of this process now. If it were unshared with the other namespaces,
    before `beside`, it would show the box as /../box-71: beside the root.
    """
    linux.unshare(linux.CLONE_NEWCGROUP)


def after(box):
    """On the host, at the end: remove the cgroup, which would stay until the next reboot."""
    for directory in box.cgroup:
        remove(directory)


def remove(directory):
    """rmdir; just after a process ended it may fail with EBUSY."""
    deadline = time.monotonic() + 5
    while os.path.exists(directory):
        try:
            os.rmdir(directory)
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.001)


def write(path, value):
    """Write one value. Not by open(path, "w"): O_CREAT makes the kernel report a missing file as
    EACCES instead of ENOENT."""
    file = os.open(path, os.O_WRONLY)
    try:
        os.write(file, str(value).encode())
    except OSError as error:  # add the path
        raise OSError(error.errno, error.strerror, f"{value} > {path}") from None
    finally:
        os.close(file)
