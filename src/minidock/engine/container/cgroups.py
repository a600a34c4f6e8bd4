"""Which cgroup a container has: where it shall be made, and where it is.

Where it shall be made is decided at each start, from --cgroup-parent and from what this machine's
cgroup tree is like (kernel/cgroup_home.py). Where it is, the runtime has written down before it was
made; so whoever comes later finds it, even from a part of the tree in which it would be made
elsewhere.

Source: Docker's "--cgroup-parent", with the cgroupfs driver and with the systemd driver.
"""

from __future__ import annotations

from minidock.errors import NotFound, UsageError
from minidock.kernel import cgroup
from minidock.kernel.cgroup import Cgroup, open_cgroup
from minidock.paths import Store
from minidock.runtime import state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.engine.container.containers import Container


def new_cgroup_path(container: Container) -> str:
    """linux.cgroupsPath of the container's next start."""
    return f"/{_parent(container)}/{container.id}"


def _parent(container: Container) -> str:
    ours = container.store.cgroup_parent
    asked = container.host_config.get("CgroupParent") or ""
    if not asked:
        return cgroup.home_of(ours)
    if cgroup.takes_slices():
        return cgroup.home_of(ours, slice_name=asked)
    return asked.strip("/") if asked.startswith("/") else cgroup.home_of(asked.strip("/"))


def check_cgroup_parent(asked: str) -> None:
    """Refuse a --cgroup-parent that cannot be one on this machine.

    Raises UsageError, where systemd owns the tree in the words of Docker's systemd driver.
    """
    if ".." in asked.split("/") or "\0" in asked:
        raise UsageError(f"cgroup-parent {asked!r} leaves its tree by '..'")
    if asked and cgroup.takes_slices():
        from minidock.kernel.systemd import slice_path

        slice_path(asked)


def cgroup_of(store: Store, container_id: str) -> Cgroup:
    """The cgroup of a container's run, which may be gone by now."""
    try:
        return state.load(store.run, container_id).cgroup
    except NotFound:  # nothing was made since the machine was started
        return open_cgroup(store.cgroup_parent, container_id)
