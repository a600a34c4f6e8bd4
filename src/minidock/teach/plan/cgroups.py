"""The cgroup acts of a run that has not taken place.

The engine's own code makes directories and looks what is there by turns, so it cannot be run
without being done. This says the same with a memory (`World`) of what would be there by then; what
limits become (`limits`, the device program) are the kernel layer's own pure functions.

Not foreseen: what another command makes or removes meanwhile, and a kernel that refuses a value.

Sources: kernel/cgroup_v1.py, kernel/cgroup_v2.py and kernel/cgroup_home.py, step by step.
"""

from __future__ import annotations

import os

from minidock.kernel import cgroup, cgroup_home, cgroup_tree, cgroup_v1, cgroup_v2, device, systemd
from minidock.runtime.program import Slot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minidock.teach.plan.planned_ops import Acts


class World:
    """What would be there by now: directories, and the content of files that were written."""

    def __init__(self) -> None:
        self.directories: set[str] = set()
        self.files: dict[str, str] = {}

    def read(self, path: str) -> str:
        """A file's content, "" where there is none yet."""
        if path in self.files:
            return self.files[path]
        return cgroup.read_file(path) if os.path.exists(path) else ""


def planned(acts: Acts, parent: str, name: str, world: World) -> V1 | V2:
    """The acts of one cgroup of this machine's version.

    world: what acts before these would have made; shared by all cgroups of a run.
    """
    return V2(acts, parent, name, world) if cgroup.is_v2() else V1(acts, parent, name, world)


class _Planned:
    def __init__(self, acts: Acts, parent: str, name: str, world: World) -> None:
        self.acts = acts
        self.group = cgroup_tree.open_cgroup(parent, name)
        self._world = world

    def _exists(self, directory: str) -> bool:
        return directory in self._world.directories or os.path.isdir(directory)

    def _make_ancestors(self, top: str, path: str) -> list[str]:
        """The directories above <top>/<path>, from the top down; those missing would be made."""
        above = [top]
        for part in path.split("/")[:-1]:
            above.append(f"{above[-1]}/{part}")
            if not self._exists(above[-1]):
                self._create_or_find(above[-1])
        return above

    def _create_or_find(self, directory: str) -> None:
        self.acts.add(cgroup.create_or_find, cgroup.create_directory, directory)
        self._world.directories.add(directory)

    def _make_empty(self, directory: str) -> None:
        self.acts.add(cgroup.make_empty, cgroup.create_directory, directory)
        self._world.directories.add(directory)


class V1(_Planned):
    """A cgroup in each of the v1 trees."""

    def adopt_caller(self) -> None:
        """As CgroupV1.adopt_caller: the monitor leaves its caller's cgroups."""
        trees, author = cgroup_v1.trees(), cgroup_v1.CgroupV1.adopt_caller
        for controller, own in cgroup_v1.own_paths().items():
            tree = trees.get(controller)
            if tree is None or own in ("/", f"/{self.group.parent}"):
                continue
            above = self._make_ancestors(tree, self.group.path)
            if controller == "cpuset":
                self._inherit_cpusets(above)
            file = "tasks" if controller else "cgroup.procs"
            self.acts.add(author, cgroup.write_file, f"{above[-1]}/{file}", "0")

    def create(self) -> None:
        """As Cgroup.create."""
        trees = cgroup_v1.trees()
        for tree in dict.fromkeys(trees.values()):
            above = self._make_ancestors(tree, self.group.path)
            directory = f"{tree}/{self.group.path}"
            self._make_empty(directory)
            if tree == trees.get("cpuset"):
                self._inherit_cpusets([*above, directory])

    def apply(self, resources: dict[str, Any]) -> None:
        """As CgroupV1.apply, of a cgroup that has no limits yet."""
        paths, trees = self.group.paths(), cgroup_v1.trees()
        unlimited = 1 << 63
        for controller, file, value in cgroup_v1.limits(resources, memory_limit_now=unlimited):
            weight = file.startswith("blkio.weight")
            if weight and not os.path.exists(f"{trees[controller]}/{file}"):
                file = file.replace("blkio.", "blkio.bfq.")
            path = f"{paths[controller]}/{file}"
            self.acts.add(cgroup_v1.CgroupV1.apply, cgroup.write_file, path, value)

    def join(self) -> None:
        """As CgroupV1.join, of a process that is born in the v2 tree where there is one."""
        paths = self.group.paths()
        paths.pop("", None)
        for directory in dict.fromkeys(paths.values()):
            self.acts.add(cgroup_v1.CgroupV1.join, cgroup.write_file, f"{directory}/tasks", "0")

    @property
    def born_inside(self) -> bool:
        """Whether clone3 can bear a process inside it."""
        return "" in cgroup_v1.trees()

    def _clone_children(self, parent: str, child: str) -> None:
        """A new cpuset has its parent's values at once where cgroup.clone_children is 1.

        Source: the kernel's admin-guide/cgroup-v1/cgroups.rst "clone_children".
        """
        if os.path.isdir(child) or self._world.read(f"{parent}/cgroup.clone_children") != "1":
            return
        for file in ("cpuset.cpus", "cpuset.mems", "cgroup.clone_children"):
            path = f"{child}/{file}"
            self._world.files.setdefault(path, self._world.read(f"{parent}/{file}"))

    def _inherit_cpusets(self, directories: list[str]) -> None:
        """As cgroup_v1.inherit_cpusets: what is empty takes its parent's value."""
        for parent, child in zip(directories, directories[1:], strict=False):
            self._clone_children(parent, child)
            for file in ("cpuset.cpus", "cpuset.mems"):
                if not self._world.read(f"{child}/{file}"):
                    path, value = f"{child}/{file}", self._world.read(f"{parent}/{file}")
                    self.acts.add(cgroup_v1.inherit_cpusets, cgroup.write_file, path, value)
                    self._world.files[path] = value


class V2(_Planned):
    """A cgroup in the one v2 tree."""

    def adopt_caller(self) -> None:
        """As CgroupV2.adopt_caller: the monitor leaves its caller's cgroup."""
        if cgroup_home.own_path(os.getpid()) not in ("/", f"/{self.group.path}"):
            self._ancestors()
            directory = f"{cgroup.ROOT}/{self.group.path}"
            self._create_or_find(directory)
            path = f"{directory}/cgroup.procs"
            self.acts.add(cgroup_v2.CgroupV2.adopt_caller, cgroup.write_file, path, "0")

    def create(self) -> None:
        """As Cgroup.create: the way down, controllers handed down on it, the directory."""
        above = self._ancestors()
        offered = cgroup.read_file(f"{cgroup.ROOT}/cgroup.controllers").split()
        if os.path.isdir(above[0]):
            offered = cgroup.read_file(f"{above[0]}/cgroup.controllers").split()
        wanted = [name for name in cgroup_v2.CONTROLLERS if name in offered]
        for parent in above:
            self._hand_down(wanted, parent, move_out=parent == above[0])
        self._make_empty(f"{cgroup.ROOT}/{self.group.path}")

    def apply(self, resources: dict[str, Any]) -> None:
        """As CgroupV2.apply, of a cgroup that is new."""
        directory, author = f"{cgroup.ROOT}/{self.group.path}", cgroup_v2.CgroupV2.apply
        for file, value in cgroup_v2.limits(resources):
            if file == "io.weight" and not self._has_io_weight():
                file = "io.bfq.weight"
            self.acts.add(author, cgroup.write_file, f"{directory}/{file}", value)
        if resources.get("devices"):
            program = device.assemble(resources["devices"])
            replace = device.replace_program
            self.acts.add(replace, device.load_program, program)
            self.acts.add(replace, device.attach_program, directory, Slot("program"))

    def join(self) -> None:
        """Nothing: init is born inside."""

    born_inside = True

    def _ancestors(self) -> list[str]:
        home, below = cgroup_home.split(self.group.path)
        if not home:
            return self._make_ancestors(cgroup.ROOT, self.group.path)
        self._prepare(home)
        return self._make_ancestors(f"{cgroup.ROOT}/{home}", below)

    def _prepare(self, home: str) -> None:
        """As cgroup_home.prepare: systemd starts the unit, whose process goes to a leaf."""
        directory = f"{cgroup.ROOT}/{home}"
        leaf = f"{directory}/{cgroup_home.LEAF}"
        if not home.endswith(".service") or self._exists(leaf):
            return
        slice_path, _, unit = home.rpartition("/")
        slice_name = slice_path.rpartition("/")[2] or "-.slice"
        self.acts.add(
            cgroup_home.prepare, systemd.start_delegated_unit, unit, slice_name=slice_name
        )
        self._hand_down_unknown(home)
        self._move_out(directory, [Slot("keeper")])

    def _hand_down_unknown(self, home: str) -> None:
        directory = cgroup.ROOT
        if "hugetlb" not in cgroup.read_file(f"{directory}/cgroup.controllers").split():
            return
        for part in home.split("/"):
            path = f"{directory}/cgroup.subtree_control"
            self.acts.add(cgroup_home.hand_down_unknown, cgroup.write_file, path, "+hugetlb")
            directory = f"{directory}/{part}"

    def _hand_down(self, controllers: list[str], directory: str, *, move_out: bool) -> None:
        """As cgroup_home.hand_down; a cgroup that holds processes is emptied at the second try."""
        enabled: list[str] = []
        if os.path.isdir(directory):
            enabled = cgroup.read_file(f"{directory}/cgroup.subtree_control").split()
        missing = [name for name in controllers if name not in enabled]
        if not missing:
            return
        path, value = f"{directory}/cgroup.subtree_control", " ".join(f"+{n}" for n in missing)
        self.acts.add(cgroup_home.hand_down, cgroup.write_file, path, value)
        inner = move_out and os.path.exists(f"{directory}/cgroup.type")  # the true root has none
        if inner and (pids := cgroup.pids_of(directory)):
            self._move_out(directory, pids)
            self.acts.add(cgroup_home.hand_down, cgroup.write_file, path, value)

    def _move_out(self, directory: str, pids: list[Any]) -> None:
        leaf = f"{directory}/{cgroup_home.LEAF}"
        self._create_or_find(leaf)
        for pid in pids:
            path = f"{leaf}/cgroup.procs"
            self.acts.add(cgroup_home.move_to_leaf, cgroup.write_file, path, str(pid))

    def _has_io_weight(self) -> bool:
        with os.scandir(cgroup.ROOT) as entries:  # the root itself has no weight
            below = [entry.path for entry in entries if entry.is_dir()]
        return any(os.path.exists(f"{path}/io.weight") for path in below)
