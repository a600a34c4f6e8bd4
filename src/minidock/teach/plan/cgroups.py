"""Plan the cgroup operations of a run.

The engine creates directories and reads files by turns, so its code cannot run without effects.
This module repeats its steps on a model of the cgroup file system (`PlannedFiles`). The values of
limits and the device program come from pure functions of the kernel layer.

Not planned: changes by another command meanwhile, and values that the kernel rejects.

Sources: kernel/cgroup_v1.py, kernel/cgroup_v2.py and kernel/cgroup_delegation.py, step by step.
"""

from __future__ import annotations

import os

from minidock.kernel import (
    cgroup,
    cgroup_delegation,
    cgroup_tree,
    cgroup_v1,
    cgroup_v2,
    device_cgroup,
    systemd,
)
from minidock.runtime.program import Slot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from minidock.document_types.runtime_spec import Resources
    from minidock.teach.plan.planned_ops import PlannedOps


class PlannedFiles:
    """The cgroup file system after the planned operations: directories, and files written."""

    def __init__(self) -> None:
        self.directories: set[str] = set()
        self.files: dict[str, str] = {}

    def read(self, path: str) -> str:
        """A file's content, "" if it does not exist yet."""
        if path in self.files:
            return self.files[path]
        return cgroup.read_file(path) if os.path.exists(path) else ""


def planned(
    ops: PlannedOps, parent: str, name: str, files_state: PlannedFiles
) -> PlannedV1 | PlannedV2:
    """The planned cgroup, v1 or v2 as on this machine.

    files_state: the result of the operations before; shared by all cgroups of a run.
    """
    return (
        PlannedV2(ops, parent, name, files_state)
        if cgroup.is_v2()
        else PlannedV1(ops, parent, name, files_state)
    )


class _PlannedCgroup:
    def __init__(self, ops: PlannedOps, parent: str, name: str, files_state: PlannedFiles) -> None:
        self.ops = ops
        self.group = cgroup_tree.open_cgroup(parent, name)
        self._files_state = files_state

    def _exists(self, directory: str) -> bool:
        return directory in self._files_state.directories or os.path.isdir(directory)

    def _make_ancestors(self, top: str, path: str) -> list[str]:
        """List the directories above <top>/<path>, top down; plan to create missing ones."""
        above = [top]
        for part in path.split("/")[:-1]:
            above.append(f"{above[-1]}/{part}")
            if not self._exists(above[-1]):
                self._create_or_find(above[-1])
        return above

    def _create_or_find(self, directory: str) -> None:
        self.ops.add(cgroup.create_or_find, cgroup.create_directory, directory)
        self._files_state.directories.add(directory)

    def _make_empty(self, directory: str) -> None:
        self.ops.add(cgroup.make_empty, cgroup.create_directory, directory)
        self._files_state.directories.add(directory)


class PlannedV1(_PlannedCgroup):
    """A cgroup in each v1 hierarchy."""

    def adopt_caller(self) -> None:
        """As CgroupV1.adopt_caller: the monitor leaves its caller's cgroups."""
        trees, caller = cgroup_v1.trees(), cgroup_v1.CgroupV1.adopt_caller
        for controller, own in cgroup_v1.own_paths().items():
            tree = trees.get(controller)
            if tree is None or own in ("/", f"/{self.group.parent}"):
                continue
            above = self._make_ancestors(tree, self.group.path)
            if controller == "cpuset":
                self._inherit_cpusets(above)
            file = "tasks" if controller else "cgroup.procs"
            self.ops.add(caller, cgroup.write_file, f"{above[-1]}/{file}", "0")

    def create(self) -> None:
        """As Cgroup.create."""
        trees = cgroup_v1.trees()
        for tree in dict.fromkeys(trees.values()):
            above = self._make_ancestors(tree, self.group.path)
            directory = f"{tree}/{self.group.path}"
            self._make_empty(directory)
            if tree == trees.get("cpuset"):
                self._inherit_cpusets([*above, directory])

    def apply(self, resources: Resources) -> None:
        """As CgroupV1.apply, of a cgroup that has no limits yet."""
        paths, trees = self.group.paths(), cgroup_v1.trees()
        unlimited = 1 << 63
        for controller, file, value in cgroup_v1.limits(resources, memory_limit_now=unlimited):
            weight = file.startswith("blkio.weight")
            if weight and not os.path.exists(f"{trees[controller]}/{file}"):
                file = file.replace("blkio.", "blkio.bfq.")
            path = f"{paths[controller]}/{file}"
            self.ops.add(cgroup_v1.CgroupV1.apply, cgroup.write_file, path, value)

    def join(self) -> None:
        """As CgroupV1.join, of a process that clone3 creates in the v2 hierarchy, if mounted."""
        paths = self.group.paths()
        paths.pop("", None)
        for directory in dict.fromkeys(paths.values()):
            self.ops.add(cgroup_v1.CgroupV1.join, cgroup.write_file, f"{directory}/tasks", "0")

    @property
    def cloned_into_cgroup(self) -> bool:
        """Whether clone3 can create a process in it (CLONE_INTO_CGROUP)."""
        return "" in cgroup_v1.trees()

    def _clone_children(self, parent: str, child: str) -> None:
        """A new cpuset has its parent's values at once where cgroup.clone_children is 1.

        Source: the kernel's admin-guide/cgroup-v1/cgroups.rst "clone_children".
        """
        if os.path.isdir(child) or self._files_state.read(f"{parent}/cgroup.clone_children") != "1":
            return
        for file in ("cpuset.cpus", "cpuset.mems", "cgroup.clone_children"):
            path = f"{child}/{file}"
            self._files_state.files.setdefault(path, self._files_state.read(f"{parent}/{file}"))

    def _inherit_cpusets(self, directories: list[str]) -> None:
        """As cgroup_v1.inherit_cpusets: what is empty inherits its parent's value."""
        for parent, child in zip(directories, directories[1:], strict=False):
            self._clone_children(parent, child)
            for file in ("cpuset.cpus", "cpuset.mems"):
                if not self._files_state.read(f"{child}/{file}"):
                    path, value = f"{child}/{file}", self._files_state.read(f"{parent}/{file}")
                    self.ops.add(cgroup_v1.inherit_cpusets, cgroup.write_file, path, value)
                    self._files_state.files[path] = value


class PlannedV2(_PlannedCgroup):
    """A cgroup in the unified v2 hierarchy."""

    def adopt_caller(self) -> None:
        """As CgroupV2.adopt_caller: the monitor leaves its caller's cgroup."""
        if cgroup_delegation.own_path(os.getpid()) not in ("/", f"/{self.group.path}"):
            self._ancestors()
            directory = f"{cgroup.ROOT}/{self.group.path}"
            self._create_or_find(directory)
            path = f"{directory}/cgroup.procs"
            self.ops.add(cgroup_v2.CgroupV2.adopt_caller, cgroup.write_file, path, "0")

    def create(self) -> None:
        """As Cgroup.create: ancestors, controllers enabled in them, the directory."""
        above = self._ancestors()
        offered = cgroup.read_file(f"{cgroup.ROOT}/cgroup.controllers").split()
        if os.path.isdir(above[0]):
            offered = cgroup.read_file(f"{above[0]}/cgroup.controllers").split()
        wanted = [name for name in cgroup_v2.CONTROLLERS if name in offered]
        for parent in above:
            self._enable_controllers(wanted, parent, move_out=parent == above[0])
        self._make_empty(f"{cgroup.ROOT}/{self.group.path}")

    def apply(self, resources: Resources) -> None:
        """As CgroupV2.apply, of a cgroup that is new."""
        directory, caller = f"{cgroup.ROOT}/{self.group.path}", cgroup_v2.CgroupV2.apply
        for file, value in cgroup_v2.limits(resources):
            if file == "io.weight" and not self._has_io_weight():
                file = "io.bfq.weight"
            self.ops.add(caller, cgroup.write_file, f"{directory}/{file}", value)
        if resources.get("devices"):
            program = device_cgroup.assemble(resources["devices"])
            replace = device_cgroup.replace_program
            self.ops.add(replace, device_cgroup.load_program, program)
            self.ops.add(replace, device_cgroup.attach_program, directory, Slot("program"))

    def join(self) -> None:
        """Nothing: clone3 creates init in it."""

    cloned_into_cgroup = True

    def _ancestors(self) -> list[str]:
        home, below = cgroup_delegation.split(self.group.path)
        if not home:
            return self._make_ancestors(cgroup.ROOT, self.group.path)
        self._prepare(home)
        return self._make_ancestors(f"{cgroup.ROOT}/{home}", below)

    def _prepare(self, home: str) -> None:
        """As cgroup_delegation.prepare: start the unit, whose main process moves to a leaf."""
        directory = f"{cgroup.ROOT}/{home}"
        leaf = f"{directory}/{cgroup_delegation.LEAF}"
        if not home.endswith(".service") or self._exists(leaf):
            return
        slice_path, _, unit = home.rpartition("/")
        slice_name = slice_path.rpartition("/")[2] or "-.slice"
        prepare = cgroup_delegation.prepare
        self.ops.add(prepare, systemd.start_delegated_unit, unit, slice_name=slice_name)
        self._enable_hugetlb(home)
        self._move_out(directory, [Slot("main_process")])

    def _enable_hugetlb(self, home: str) -> None:
        directory = cgroup.ROOT
        if "hugetlb" not in cgroup.read_file(f"{directory}/cgroup.controllers").split():
            return
        for part in home.split("/"):
            path = f"{directory}/cgroup.subtree_control"
            self.ops.add(cgroup_delegation.enable_hugetlb, cgroup.write_file, path, "+hugetlb")
            directory = f"{directory}/{part}"

    def _enable_controllers(
        self, controllers: list[str], directory: str, *, move_out: bool
    ) -> None:
        """As cgroup_delegation.enable_controllers: EBUSY, move processes out, then write again."""
        enabled: list[str] = []
        if os.path.isdir(directory):
            enabled = cgroup.read_file(f"{directory}/cgroup.subtree_control").split()
        missing = [name for name in controllers if name not in enabled]
        if not missing:
            return
        path, value = f"{directory}/cgroup.subtree_control", " ".join(f"+{n}" for n in missing)
        self.ops.add(cgroup_delegation.enable_controllers, cgroup.write_file, path, value)
        inner = move_out and os.path.exists(f"{directory}/cgroup.type")  # the root cgroup has none
        if inner and (pids := cgroup.pids_of(directory)):
            self._move_out(directory, pids)
            self.ops.add(cgroup_delegation.enable_controllers, cgroup.write_file, path, value)

    def _move_out(self, directory: str, pids: Iterable[int | Slot]) -> None:
        leaf = f"{directory}/{cgroup_delegation.LEAF}"
        self._create_or_find(leaf)
        for pid in pids:
            path = f"{leaf}/cgroup.procs"
            self.ops.add(cgroup_delegation.move_to_leaf, cgroup.write_file, path, str(pid))

    def _has_io_weight(self) -> bool:
        with os.scandir(cgroup.ROOT) as entries:  # the root cgroup has no weight
            below = [entry.path for entry in entries if entry.is_dir()]
        return any(os.path.exists(f"{path}/io.weight") for path in below)
