"""Things of the picture, their states, and what is known while a container is being made.

OFF      not there           drawn as an empty place, or not at all
READY    prepared            its mount point, its parent cgroup: drawn dashed
ON       there
TOUCHED  (of a change only)  the operation concerns the thing, its state stays
"""

from __future__ import annotations

from minidock.kernel.capability import NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from minidock.teach.journal_reader import JournalEntry

    Effect = Callable[["JournalEntry", "Making"], list["Change"]]

OFF, READY, ON = 0, 1, 2
TOUCHED = -1

# kind -> the tile of the picture that shows it; tiles with a name of a row are the container's.
TILES = {
    "engine": "host_processes",
    "monitor": "host_processes",
    "helper": "host_processes",
    "image layer": "host_files",
    "host root": "host_files",
    "host cgroup": "host_cgroup",
    "limit": "host_cgroup",
    "bridge": "host_network",
    "veth": "host_network",
    "port": "host_network",
    "firewall": "host_network",
    "host setting": "host_network",
    "init": "pid",
    "command": "pid",
    "exec": "pid",
    "PID namespace": "pid",
    "mount namespace": "mount",
    "mount": "mount",
    "network namespace": "net",
    "interface": "net",
    "route": "net",
    "net setting": "net",
    "UTS namespace": "uts",
    "name": "uts",
    "IPC namespace": "ipc",
    "ipc setting": "ipc",
    "cgroup namespace": "cgroup",
    "old root": "pivot_root",
    "root": "pivot_root",
    "filter": "seccomp",
    "capability": "capabilities",
    "capability setting": "capabilities",
    "mask": "masks",
    "device": "devices",
    "device rule": "devices",
    "layer": "layers",
    "files": "layers",
    "user namespace": "other",
    "user": "other",
    "stream": "other",
    "process setting": "other",
}
NAMESPACES = {
    "pid": "PID namespace",
    "mount": "mount namespace",
    "network": "network namespace",
    "uts": "UTS namespace",
    "ipc": "IPC namespace",
    "cgroup": "cgroup namespace",
    "user": "user namespace",
}
# Things that exist before the first operation.
FIRST = (("host root", "/"), ("engine", "minidock"), *(("capability", name) for name in NAMES))


# What the kernel frees with the last process, apart from what the container's tiles show.
FREED = ("veth", "limit")
KEPT = ("capability", "layer", "files")


class Change:
    """One change: of the thing (kind, name), to a state, with a note to show beside its name."""

    def __init__(self, kind: str, name: str, state: int = ON, note: str = "") -> None:
        self.kind = kind
        self.name = name
        self.state = state
        self.note = note


class Making:
    """What the operations so far have determined, and later ones depend on.

    uid: of the container's process. bounding, ambient: its capability sets. peers: interface in
    the container -> its end on the host. layers: names. rules: the number of firewall rules added.
    has_ended: whether its cgroup was removed, which the kernel refuses (EBUSY) while it has a
    process.
    """

    def __init__(self) -> None:
        self.uid = 0
        self.bounding = list(NAMES)
        self.ambient: list[str] = []
        self.peers: dict[str, str] = {}
        self.layers: list[str] = []
        self.rules = 0
        self.has_ended = False


def is_inside(entry: JournalEntry) -> bool:
    """Whether a process of the container acts."""
    return entry.record["actor"] in ("init", "stage", "exec")


def always(kind: str, name: str, state: int = ON) -> Effect:
    """The effect of an operation whose arguments do not matter to the picture."""
    return lambda entry, making: [Change(kind, name, state)]
