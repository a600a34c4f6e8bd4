"""Cgroups in this machine's trees, independent of the version.

    open_cgroup, home_of        a container's cgroup, and the parent of minidock's cgroups
    leave_caller_cgroup         moves a monitor there
    remove_parent               removes what is left after the last container

cgroup.py describes the versions. The module of a version is imported where it is used.
"""

from __future__ import annotations

import os

from minidock.errors import MinidockError
from minidock.kernel.cgroup import MONITORS, is_v2, try_remove, while_parents_vanish

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.kernel.cgroup import Cgroup


def open_cgroup(parent: str, name: str) -> Cgroup:
    """Return the cgroup <parent>/<name> of this machine's cgroup version; nothing is created yet.

    parent: path below the root of each tree, such as "kubepods/pod1" or `home_of("minidock")`.
    """
    for part in (*parent.split("/"), *name.split("/")):
        if part == "..":
            raise MinidockError(f"cgroup path {parent}/{name} must not contain '..'")
    parent, name = parent.strip("/"), name.strip("/")
    if is_v2():
        from minidock.kernel.cgroup_v2 import CgroupV2

        return CgroupV2(parent, name)
    from minidock.kernel.cgroup_v1 import CgroupV1

    return CgroupV1(parent, name)


def home_of(name: str, *, slice_name: str = "") -> str:
    """Return the parent of minidock's own cgroups on this machine, for `open_cgroup`.

    name: of the directory that they share, "" for none. slice_name: their systemd slice, if
    `takes_slices`. See cgroup_delegation.py for v2; v1's trees have no owner, so there it is at
    their root.
    """
    if not is_v2():
        return name
    from minidock.kernel.cgroup_delegation import home

    return f"{home(slice_name)}/{name}".strip("/")


def takes_slices() -> bool:
    """Whether systemd owns the tree, so that a slice names the parent of a cgroup."""
    if not is_v2():
        return False
    from minidock.kernel import systemd

    return systemd.is_running()


def leave_caller_cgroup(parent: str) -> None:
    """Move this process out of its caller's cgroup, so that the caller's limits do not apply to it.

    It goes to <parent> (v1), or to the leaf <parent>/monitors (v2, whose inner cgroups hold no
    processes); only in those trees where it is not at the root, which has no limits.
    """
    group = open_cgroup(parent, MONITORS)
    while_parents_vanish(group.adopt_caller)


def remove_parent(parent: str) -> bool:
    """Remove <parent> and <parent>/monitors if no process is left in them.

    Returns whether they are gone. A parent in use stays, which is not an error: the next container
    needs it anyway. A monitor that calls this keeps its own cgroup in use.
    """
    gone = True
    for directory in open_cgroup(parent, MONITORS).directories():
        for path in (directory, os.path.dirname(directory)):
            if os.path.isdir(path):
                gone = try_remove(path) and gone
    return gone
