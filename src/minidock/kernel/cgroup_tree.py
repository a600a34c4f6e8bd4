"""A cgroup in this machine's trees, whichever version they have: where it is, and whose.

    open_cgroup, home_of        a container's cgroup, and where minidock's go
    leave_caller_cgroup         how a monitor comes there
    remove_parent               and how the last one leaves nothing behind

Which versions there are is told in cgroup.py; a version's own module is imported where it is used.
"""

from __future__ import annotations

import os

from minidock.errors import MinidockError
from minidock.kernel.cgroup import MONITORS, is_v2, try_remove, while_parents_vanish

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.kernel.cgroup import Cgroup


def open_cgroup(parent: str, name: str) -> Cgroup:
    """The cgroup <parent>/<name> of this machine's cgroup version; nothing is made yet.

    parent: path below the root of each tree, such as "kubepods/pod1" or `home_of("minidock")`.
    """
    for part in (*parent.split("/"), *name.split("/")):
        if part == "..":
            raise MinidockError(f"cgroup path {parent}/{name} leaves its tree by '..'")
    parent, name = parent.strip("/"), name.strip("/")
    if is_v2():
        from minidock.kernel.cgroup_v2 import CgroupV2

        return CgroupV2(parent, name)
    from minidock.kernel.cgroup_v1 import CgroupV1

    return CgroupV1(parent, name)


def home_of(name: str, *, slice_name: str = "") -> str:
    """Where minidock's own cgroups go on this machine: a parent for `open_cgroup`.

    name: of the directory that they share, "" for none. slice_name: the slice of systemd's that
    they shall belong to, where `takes_slices`. See cgroup_home.py for v2; v1's trees have no owner,
    so it is at their root there.
    """
    if not is_v2():
        return name
    from minidock.kernel.cgroup_home import home

    return f"{home(slice_name)}/{name}".strip("/")


def takes_slices() -> bool:
    """Whether systemd owns the tree, so that a cgroup's place in it is named by a slice."""
    if not is_v2():
        return False
    from minidock.kernel import systemd

    return systemd.is_running()


def leave_caller_cgroup(parent: str) -> None:
    """Move this process out of its caller's cgroup, so that the caller's limits are not its own.

    It goes to <parent> (v1), or to the leaf <parent>/monitors (v2, whose inner cgroups hold no
    processes); only in the trees in which it is not at the root already, where no limit exists.
    """
    group = open_cgroup(parent, MONITORS)
    while_parents_vanish(group.adopt_caller)


def remove_parent(parent: str) -> bool:
    """Remove <parent> and <parent>/monitors where nothing lives in them any more.

    Returns whether all is gone. A parent in use stays, and is not an error: the next container
    needs it anyway. A monitor that calls this keeps its own cgroup in use.
    """
    gone = True
    for directory in open_cgroup(parent, MONITORS).directories():
        for path in (directory, os.path.dirname(directory)):
            if os.path.isdir(path):
                gone = try_remove(path) and gone
    return gone
