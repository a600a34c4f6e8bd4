"""--memory, --pids, --cpus: what the box may use."""

import errno
import os
import time

import linux

TOP = "/sys/fs/cgroup"
PERIOD = 100000  # microseconds in which the box may use its share of the processors
# Without a limit of swap too, what is too much is swapped out, and nobody is stopped. These files
# are missing where the kernel does not count swap.
SWAP = ("memory.memsw.limit_in_bytes", "memory.swap.max")


def options(parser):
    parser.add_argument("--memory", type=int, metavar="BYTES", help="most memory, page cache too")
    parser.add_argument("--pids", type=int, metavar="N", help="most processes and threads at once")
    parser.add_argument("--cpus", type=float, metavar="X", help="most CPUs: 1.5 is one and a half")


def is_v2():
    """Whether this machine has one tree for all controllers (v2), or one for each (v1)."""
    return os.path.exists(f"{TOP}/cgroup.controllers")


def before(box):
    """On the host, before the child is born: make the box's cgroup, and write its limits.

    box.cgroup are its directories: one on v2, one for each controller on v1.
    """
    box.cgroup = []
    limits = limits_v2(box) if is_v2() else limits_v1(box)
    # A name of its own for each box: those that run beside it have another pid.
    places = {name: f"{tree(name)}/box-{os.getpid()}" for name, _, _ in limits}
    if is_v2() and limits:
        hand_down(sorted(places))
    for directory in sorted(set(places.values())):
        os.mkdir(directory)
        box.cgroup.append(directory)
    for name, file, value in limits:
        if file not in SWAP or os.path.exists(f"{places[name]}/{file}"):
            write(f"{places[name]}/{file}", value)


def limits_v1(box):
    """What was asked for, as (controller, file, value)."""
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
    """What was asked for, as (controller, file, value)."""
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
    """The top of the tree in which this controller's cgroups are."""
    if is_v2():
        return TOP
    with open("/proc/self/mounts") as mounts:
        for line in mounts:
            _, directory, kind, options, *_ = line.split()
            if kind == "cgroup" and controller in options.split(","):
                return directory
    raise OSError(errno.ENOENT, "no cgroup tree is mounted for this controller", controller)


def hand_down(controllers):
    """v2: give the cgroups below the top the files of these controllers.

    The top may hand down only while no process is in it itself ("no internal processes"), unless it
    is the real root of the whole tree. So boxes are beside the cgroup that this process is in, and
    not below it.
    """
    write(f"{TOP}/cgroup.subtree_control", " ".join(f"+{name}" for name in controllers))


def beside(box):
    """On the host, while the child waits: put it into the cgroup, and so all of its children."""
    for directory in box.cgroup:
        write(f"{directory}/cgroup.procs", box.pid)


def inside(box):
    """In the child: a cgroup namespace, in which the box's own cgroup is the root.

    Its root is where its maker is now. Unshared with the other namespaces, before `beside`, it
    would show the box as /../box-71: beside the root, not at it.
    """
    linux.unshare(linux.CLONE_NEWCGROUP)


def after(box):
    """On the host, when all is over: remove the cgroup, which else stays until the next reboot."""
    for directory in box.cgroup:
        remove(directory)


def remove(directory):
    """rmdir; a process that has just ended can be in the way for a moment (EBUSY)."""
    deadline = time.monotonic() + 5
    while os.path.exists(directory):
        try:
            os.rmdir(directory)
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.001)


def write(path, value):
    """Write one value. Not by open(path, "w"), which would create a file that is missing: cgroups
    have no such files, so the kernel says EACCES, where ENOENT is the truth."""
    file = os.open(path, os.O_WRONLY)
    try:
        os.write(file, str(value).encode())
    except OSError as error:  # write(2) knows no names
        raise OSError(error.errno, error.strerror, f"{value} > {path}") from None
    finally:
        os.close(file)
