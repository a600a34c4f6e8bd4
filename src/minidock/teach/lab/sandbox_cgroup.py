"""The cgroup of a sandbox: its limits, and a way to kill all its processes, however fast they fork.

    minidock-labs/<ns>.<pid>.<start time>.<n>/   the sandbox; inside, the root of every hierarchy
        init/                                    its processes, until they create cgroups of their
                                                 own (as init.scope under systemd)

The name identifies the grader: the next one sees whether that has ended (after SIGKILL, say), and
removes its cgroup. It begins with the inode of the PID namespace in which the pid is valid: a
container may see the host's cgroups, but not its processes. Inside, the sandbox's root may create
cgroups and move its processes; the limits of the sandbox itself stay the host's.

Sources: cgroups(7); cgroup_namespaces(7); cgroup-v2.rst "Delegation".
"""

from __future__ import annotations

import fcntl
import itertools
import os
from errno import ENODEV, ENOENT

from minidock.errors import KernelError, MinidockError
from minidock.kernel import cgroup, cgroup_delegation, cgroup_tree
from minidock.kernel.process import start_time
from minidock.teach.lab.sandbox_tree import ROOT_ID

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.kernel.cgroup import Cgroup

_PARENT = "minidock-labs"
_LEAF = "init"
_MAX_DESCENDANTS_FILE, _MAX_DESCENDANTS = "cgroup.max.descendants", "256"
_ENABLED_CONTROLLERS = ("memory", "pids", "cpu", "cpuset")
_DELEGATED_FILES = ("cgroup.procs", "cgroup.threads", "cgroup.subtree_control", "tasks")
_numbers = itertools.count(1)


class SandboxCgroup:
    """The cgroup of one sandbox, in each hierarchy."""

    def __init__(self, *, memory_mib: int, pids: int) -> None:
        self._parent = cgroup_tree.home_of(_PARENT)
        own = f"{_namespace()}.{os.getpid()}.{start_time(os.getpid())}.{next(_numbers)}"
        self.root = cgroup_tree.open_cgroup(self._parent, own)
        self.root.create()
        self.root.apply({"memory": {"limit": memory_mib << 20}, "pids": {"limit": pids}})
        self.leaf = cgroup_tree.open_cgroup(self.root.path, _LEAF)
        for directory in self.root.directories():
            inherit = (
                f"{directory}/cgroup.clone_children"  # v1: no process can join an empty cpuset
            )
            if "/cpuset/" in directory and os.path.exists(inherit):
                cgroup.write_file(inherit, "1")
            cgroup.create_directory(f"{directory}/{_LEAF}")
            if os.path.exists(f"{directory}/{_MAX_DESCENDANTS_FILE}"):
                cgroup.write_file(f"{directory}/{_MAX_DESCENDANTS_FILE}", _MAX_DESCENDANTS)
            _delegate(directory)
            _delegate(f"{directory}/{_LEAF}")

    def enable_controllers(self) -> None:
        """Enable controllers for its child cgroups; in v2, its root must have no processes."""
        if cgroup.is_v2():
            for directory in self.root.directories():
                offered = cgroup.read_file(f"{directory}/cgroup.controllers").split()
                wanted = [name for name in _ENABLED_CONTROLLERS if name in offered]
                cgroup_delegation.enable_controllers(wanted, directory)

    def pids(self) -> list[int]:
        """The host's pids of all processes in the sandbox: one hierarchy has them all."""
        top = self.root.directories()[0]
        return [pid for directory in cgroup.walk(top) for pid in cgroup.pids_of(directory)]

    def thaw(self) -> None:
        """Thaw its cgroups: in v1, SIGKILL does not end a frozen process."""
        _thaw(self.root)

    def list_cgroups(self) -> list[str]:
        """The cgroups that were created in the sandbox: "memory/box" (v1), "box" (v2)."""
        found = []
        for controller, top in self.root.paths().items():
            for directory in cgroup.walk(top):
                below = os.path.relpath(directory, top)
                if below not in (".", _LEAF):
                    found.append(f"{controller}/{below}".lstrip("/"))
        return sorted(found)

    def path_inside(self, path: str) -> str:
        """Convert a path of /proc/PID/cgroup to one below the sandbox's root.

        Raises MinidockError if /proc and /sys/fs/cgroup show different roots.
        """
        below = path.removeprefix(f"/{self.root.path}")
        if f"/{_PARENT}/" in below:
            raise MinidockError(
                f"{path}, a cgroup of the sandbox, has another path below /sys/fs/cgroup",
                hint="a container in which labs are graded needs --cgroupns private",
            )
        return below or "/"

    def close(self) -> None:
        """Kill its remaining processes, and remove it."""
        self.root.kill_all()
        self.root.remove()
        cgroup_tree.remove_parent(self._parent)


def remove_stale() -> None:
    """Remove the cgroups of graders that have ended; one grader at a time does it for all."""
    parent = cgroup_tree.home_of(_PARENT)
    tops = [top for top in cgroup_tree.open_cgroup(parent, "").directories() if os.path.isdir(top)]
    try:
        lock = os.open(tops[0], os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, IndexError):
        return  # there are none, or another grader has just removed them
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for name in sorted({name for top in tops for name in _list_names(top)}):
            namespace, *maker = name.split(".")
            if namespace == _namespace() and str(start_time(int(maker[0]))) != maker[1]:
                _remove(cgroup_tree.open_cgroup(parent, name))
    except BlockingIOError:
        return  # another grader is doing it
    finally:
        os.close(lock)


def _remove(left: Cgroup) -> None:
    """Remove a stale cgroup; one whose processes cannot be killed yet stays for a later grader."""
    try:
        _thaw(left)
        left.kill_all()
        left.remove()
    except MinidockError:
        return


def _thaw(group: Cgroup) -> None:
    """Thaw a v1 cgroup and all below it: each may have been frozen by itself."""
    freezer = group.paths().get("freezer")
    for directory in cgroup.walk(freezer) if freezer else ():
        try:
            cgroup.write_file(f"{directory}/freezer.state", "THAWED")
        except KernelError as error:
            if error.errno not in (ENOENT, ENODEV):  # it was just removed
                raise


def _namespace() -> str:
    """The inode of this process's PID namespace."""
    return str(os.stat("/proc/self/ns/pid").st_ino)


def _list_names(top: str) -> list[str]:
    try:
        return os.listdir(top)
    except FileNotFoundError:
        return []


def _delegate(directory: str) -> None:
    """Let the sandbox's root create cgroups here, and move processes."""
    os.chown(directory, ROOT_ID, ROOT_ID)
    for name in _DELEGATED_FILES:
        try:
            os.chown(f"{directory}/{name}", ROOT_ID, ROOT_ID)
        except FileNotFoundError:
            continue  # v1 and v2 have different files


def mount_points() -> dict[str, str]:
    """The mounts below /sys/fs/cgroup: directory -> v1 controllers, or "" for cgroup2."""
    if cgroup.is_v2():
        return {"": ""}
    from minidock.kernel.cgroup_v1 import trees

    found: dict[str, list[str]] = {}
    for controller, at in trees().items():
        found.setdefault(os.path.basename(at), []).append(controller)
    return {name: ",".join(controllers) for name, controllers in found.items()}
