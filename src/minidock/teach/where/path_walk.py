"""where CONTAINER:PATH: resolve a path as a process of the container does.

    a running container   by descriptors in its mount namespace: the kernel crosses mounts
    a stopped container   in its layers and the mounts of its last (or next) start; the content of a
                          tmpfs is unknown

This module resolves symbolic links itself, from the container's root and never out of it: a link in
a volume may lead into the layers, and back. Magic links of procfs are not followed, since their
target depends on the process that reads them.

Source: path_resolution(7); proc_pid_mountinfo(5); proc_pid_fdinfo(5), "mnt_id".
"""

from __future__ import annotations

import json
import os
import stat

from minidock.engine.container.bundle import mounts_of
from minidock.errors import UsageError
from minidock.kernel.mountinfo import mount_table, unescaped
from minidock.teach.layers.find import of_container
from minidock.teach.layers.stack import Stack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from minidock.document_types import runtime_spec
    from minidock.engine.container.containers import Container
    from minidock.teach.layers.layer import Version

    class PathNode(Protocol):
        """A file in a path walk. mount: None if it is on the container's root file system."""

        mount: Mount | None

        def kind(self) -> int:
            """Its type (S_IFMT); 0 if unknown."""

        def target(self) -> str:
            """The target of a symbolic link."""

        def down(self, name: str) -> PathNode | None:
            """The entry of that name, or None."""


_LINKS_MAX = 40  # path_resolution(7)
_FLAGS = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


class Mount:
    """A mount over the layers.

    point: the mount point in the container. kind: the type of the file system, or "bind".
    source: the host's path of its root, "" if none.
    """

    def __init__(self, point: str, kind: str, source: str) -> None:
        self.point = point
        self.kind = kind
        self.source = source


class PathWalk:
    """A path walk. levels: (component, its node). links: (link, its target) for links followed.

    rest: the components that do not exist.
    """

    def __init__(self, root: PathNode) -> None:
        self.levels: list[tuple[str, PathNode]] = [("", root)]
        self.links: list[tuple[str, str]] = []
        self.rest: list[str] = []

    @property
    def node(self) -> PathNode:
        return self.levels[-1][1]

    @property
    def path(self) -> str:
        """The path without links and "..", with the missing components."""
        return "/" + "/".join([*[name for name, _ in self.levels[1:]], *self.rest])


def follow(root: PathNode, path: str, *, to_the_end: bool = False) -> PathWalk:
    """Resolve a path. to_the_end: follow a link at its end too.

    Raises UsageError for a loop of links.
    """
    walk = PathWalk(root)
    waiting = _names(path)
    if path.endswith("/"):
        waiting.append(".")  # a trailing slash requires a directory
    while waiting:
        if walk.node.kind() not in (stat.S_IFDIR, 0):
            walk.rest = waiting
            return walk
        name = waiting.pop(0)
        if name == ".":
            continue
        if name == "..":
            del walk.levels[max(1, len(walk.levels) - 1) :]
            continue
        node = walk.node.down(name)
        if node is None:
            walk.rest = [name, *waiting]
            return walk
        if node.kind() == stat.S_IFLNK and (waiting or to_the_end):
            target = node.target()
            walk.links.append((f"{walk.path.rstrip('/')}/{name}", target))
            if len(walk.links) > _LINKS_MAX:
                raise UsageError(f"{path}: too many symbolic links (ELOOP)")
            if target.startswith("/"):
                del walk.levels[1:]
            waiting = _names(target) + waiting
            continue
        walk.levels.append((name, node))
    return walk


def _names(path: str) -> list[str]:
    return [name for name in path.split("/") if name]


class OpenNode:
    """A node with an open descriptor, which is closed with it."""

    def __init__(self, fd: int, mount: Mount | None) -> None:
        self.fd = fd
        self.mount = mount

    def __del__(self) -> None:
        os.close(self.fd)

    def kind(self) -> int:
        return stat.S_IFMT(os.fstat(self.fd).st_mode)

    def target(self) -> str:
        return os.readlink("", dir_fd=self.fd)

    def open_down(self, name: str) -> int:
        """Open the entry of that name; -1 if it does not exist."""
        try:
            return os.open(name, _FLAGS, dir_fd=self.fd)
        except (FileNotFoundError, NotADirectoryError):
            return -1


class RunningNode(OpenNode):
    """A node in the mount namespace of a container's process."""

    def __init__(self, fd: int, mounts: Mounts) -> None:
        self._mounts = mounts
        super().__init__(fd, mounts.of(fd))

    def kind(self) -> int:
        kind = super().kind()
        is_magic = kind == stat.S_IFLNK and self.mount is not None and self.mount.kind == "proc"
        return 0 if is_magic else kind

    def down(self, name: str) -> RunningNode | None:
        if (fd := self.open_down(name)) < 0:
            return None
        return RunningNode(fd, self._mounts)


class Mounts:
    """The mounts of a container's process, by mount id."""

    def __init__(self, pid: int, root: int) -> None:
        self._lines = {line.split(" ", 1)[0]: line for line in mount_table(pid)}
        self._root = _mount_id(root)

    def of(self, fd: int) -> Mount | None:
        """The mount of a descriptor; None for the root mount."""
        number = _mount_id(fd)
        if number == self._root or number not in self._lines:
            return None
        left, _, right = self._lines[number].partition(" - ")
        fields = left.split(" ")
        point, kind = unescaped(fields[4]), right.split(" ")[0]
        return Mount(point, kind, _on_host(fields[2], unescaped(fields[3])))


def _mount_id(fd: int) -> str:
    with open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as file:
        fields = dict(line.split(":", 1) for line in file if ":" in line)
    return fields["mnt_id"].strip()


def _on_host(device: str, root: str) -> str:
    """The host's path of a directory in a file system, from the host's mounts; "" if none."""
    for line in reversed(mount_table("self")):
        fields = line.split(" ", 5)
        top = unescaped(fields[3]).rstrip("/")
        if fields[2] == device and f"{root.rstrip('/')}/".startswith(f"{top}/"):
            path = unescaped(fields[4]).rstrip("/") + root.rstrip("/")[len(top) :]
            if _is_on(path or "/", device):
                return path or "/"
    return ""


def _is_on(path: str, device: str) -> bool:
    """Whether a path of the host is on a device, and not hidden by another mount."""
    try:
        number = os.lstat(path).st_dev
    except OSError:
        return False
    return f"{os.major(number)}:{os.minor(number)}" == device


def root_of_running(pid: int) -> RunningNode:
    """The root of a container's process. Raises FileNotFoundError if it has exited."""
    fd = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    return RunningNode(fd, Mounts(pid, fd))


class LayerNode:
    """A node in the layers, with its visible versions."""

    def __init__(self, stack: Stack, visible: list[Version]) -> None:
        self._stack = stack
        self._counted = visible

    def kind(self) -> int:
        return stat.S_IFMT(self._counted[0].entry.status.st_mode)

    def target(self) -> str:
        top = self._counted[0]
        return os.fsdecode(top.layer.read_link(top.entry))

    def down(self, name: str) -> LayerNode | None:
        parents = [(version.layer, version.path) for version in self._counted]
        visible, _ = self._stack.resolve(parents, os.fsencode(name))
        return LayerNode(self._stack, visible) if visible else None


class HostNode(OpenNode):
    """A node in a directory of the host that a start bind-mounts."""

    def down(self, name: str) -> HostNode | None:
        fd = self.open_down(name)
        return HostNode(fd, self.mount) if fd >= 0 else None


class StoppedNode:
    """A node of a stopped container.

    tree: its mounts. path: of the node. inner: its content, as far as known.
    """

    def __init__(
        self, tree: StoppedRoot, path: str, mount: Mount | None, inner: LayerNode | HostNode | None
    ) -> None:
        self._tree = tree
        self._path = path
        self.mount = mount
        self._inner = inner

    def kind(self) -> int:
        return self._inner.kind() if self._inner else 0

    def target(self) -> str:
        return self._inner.target() if self._inner else ""

    def down(self, name: str) -> StoppedNode | None:
        path = f"{self._path.rstrip('/')}/{name}"
        if over := self._tree.over(path, self.mount):
            return over
        inner = self._inner.down(name) if self._inner else None
        if inner is None and self._inner is not None:
            return None
        return StoppedNode(self._tree, path, self.mount, inner)


class StoppedRoot:
    """The root of a stopped container: `with StoppedRoot(container) as root:`."""

    def __init__(self, container: Container) -> None:
        self._container = container
        self._stack = Stack(of_container(container))
        self._mounted: list[
            tuple[str, Mount | None, StoppedNode]
        ] = []  # point, its mount, new root

    def __enter__(self) -> StoppedNode:
        self._stack.__enter__()
        found = self._stack.look_up(b"")
        root = StoppedNode(self, "/", None, LayerNode(self._stack, found.visible))
        for entry in _configured(self._container):
            walk = follow(root, entry["destination"], to_the_end=True)
            source = os.path.realpath(entry["source"]) if entry["type"] == "bind" else ""
            mount = Mount(walk.path, entry["type"], source)
            node = StoppedNode(self, walk.path, mount, _bound(mount) if source else None)
            self._mounted.append((walk.path, walk.node.mount, node))
        return root

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._stack.__exit__(kind, error, trace)

    def over(self, path: str, mount: Mount | None) -> StoppedNode | None:
        """The topmost mount at a path of a mount, or of the layers, or None."""
        found = None
        for point, below, node in self._mounted:
            if (point, below) == (path, found.mount if found else mount):
                found = node
        return found


def _bound(mount: Mount) -> HostNode | None:
    try:
        return HostNode(os.open(mount.source, _FLAGS), mount)
    except OSError:  # it no longer exists on the host
        return None


def _configured(container: Container) -> list[runtime_spec.Mount]:
    """The mounts of the last start, or of the first: "destination", "type", "source"."""
    try:
        with open(container.paths.config, encoding="utf-8") as file:
            mounts: list[runtime_spec.Mount] = json.load(file)["mounts"]
            return mounts
    except FileNotFoundError:  # it was never started
        return mounts_of(container)
