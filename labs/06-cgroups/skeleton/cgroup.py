"""--memory, --pids, --cpus: what the box may use. Yours to write."""

import os

TOP = "/sys/fs/cgroup"


def options(parser):
    parser.add_argument("--memory", type=int, metavar="BYTES", help="limit, page cache included")
    parser.add_argument("--pids", type=int, metavar="N", help="limit of processes and threads")
    parser.add_argument("--cpus", type=float, metavar="X", help="limit; 1.5 is one and a half CPUs")


def is_v2():
    """Whether this machine has one hierarchy for all controllers (v2), or one for each (v1)."""
    return os.path.exists(f"{TOP}/cgroup.controllers")


def before(box):
    """On the host, before the child is created: create the box's cgroup, and write its limits."""
    if box.memory is None and box.pids is None and box.cpus is None:
        return
    # TODO: mkdir; on v2, cgroup.subtree_control first; then the files of each limit
    raise NotImplementedError("cgroup.before is not written yet")


def beside(box):
    """On the host, while the child waits: move it to the cgroup."""
    # TODO: cgroup.procs


def inside(box):
    """In the child: a cgroup namespace, in which the box's own cgroup is the root."""
    # TODO: unshare. Why would it be too early together with the FLAGS of the other parts?


def after(box):
    """On the host, at the end: remove the cgroup."""
    # TODO: rmdir, and what if the kernel says EBUSY?
