"""ns: the namespaces of containers, and which of them are shared.

A namespace has no name. Its identity is an inode of nsfs, to which /proc/PID/ns/KIND leads: two
processes are in the same namespace if these inodes are equal. "The host" means the namespaces of
this command.

Source: namespaces(7), lsns(8).
"""

from __future__ import annotations

import json
import os

from minidock.engine.container.cgroups import cgroup_of
from minidock.engine.container.lookup import list_containers
from minidock.teach.page import Paint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

    from minidock.engine.container.containers import Container
    from minidock.paths import Store

HOST = "host"
KINDS = tuple(
    kind
    for kind in ("mnt", "pid", "net", "ipc", "uts", "cgroup", "user", "time")
    if os.path.exists(f"/proc/self/ns/{kind}")  # time: since Linux 5.6
)
_CELL_WIDTH = 12


def inode_of(pid: int | str, kind: str) -> int:
    """The inode of a process's namespace, which identifies it.

    pid: or "self", for the host. kind: as in /proc/PID/ns.
    Raises FileNotFoundError if the process has exited, PermissionError if access is denied. If it
    exits during the lookup, the kernel returns EACCES or ESRCH, too.
    Source: fs/proc/namespaces.c (proc_ns_get_link).
    """
    path = f"/proc/{pid}/ns/{kind}"
    try:
        return os.stat(path).st_ino
    except (PermissionError, ProcessLookupError):
        if os.path.exists(f"/proc/{pid}"):
            raise
        raise FileNotFoundError(f"{path}: the process has exited") from None


def ns_pids(pid: int) -> list[int]:
    """A process's pid in our PID namespace, and in each nested one (NSpid)."""
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
        line = next(line for line in file if line.startswith("NSpid:"))
    return [int(number) for number in line.split()[1:]]


class Member:
    """A member of namespaces: the host, a container, or a process with its own namespaces in one.

    pid: of the container's init, or of that process. within: the name of that process's container,
    else "". inodes: kind -> inode.
    """

    def __init__(self, name: str, container_id: str, pid: int | str, *, within: str = "") -> None:
        self.name = name
        self.within = within
        self.id = container_id
        self.pid = pid
        self.inodes = {kind: inode_of(pid, kind) for kind in KINDS}


def list_members(store: Store) -> list[Member]:
    """List the host and the running containers, oldest first, each with its nested members."""
    found = [Member(HOST, "", "self")]
    for container in reversed(list_containers(store)):
        if pid := container.state["Pid"]:
            try:
                found.append(Member(container.name, container.id, pid))
            except FileNotFoundError:  # it has just exited
                continue
    for member in found[1:]:
        at = found.index(member) + 1
        found[at:at] = _processes_with_own(store, member, found)
    return found


def _processes_with_own(store: Store, member: Member, members: list[Member]) -> list[Member]:
    """The processes of a container in namespaces that no other member has.

    For each set of namespaces, the process with the lowest pid. A container in a container looks
    like that, and the sandbox of a browser.
    """
    known = {(kind, inode) for each in members for kind, inode in each.inodes.items()}
    creators: dict[tuple[int, ...], Member] = {}
    for pid in sorted(cgroup_of(store, member.id).pids()):
        try:
            creator = Member(f"{member.name}:{pid}", member.id, pid, within=member.name)
        except (FileNotFoundError, PermissionError):  # it has just exited, or access is denied
            continue
        if not known.issuperset(creator.inodes.items()):
            creators.setdefault(tuple(creator.inodes.values()), creator)
    return list(creators.values())


def members_sharing(member: Member, kind: str, members: list[Member]) -> list[str]:
    """The names of other members in a member's namespace, except those in the same container."""
    inode = member.inodes[kind]
    return [o.name for o in members if o.inodes[kind] == inode and o.id != member.id]


def write_json(members: list[Member], out: TextIO) -> None:
    """Write the table as JSON."""
    rows: list[dict[str, object]] = [
        {
            "name": member.name,
            "id": member.id,
            "within": member.within,
            "pid": os.getpid() if member.pid == "self" else member.pid,
            "namespaces": {
                kind: {"ns": inode, "shared_with": members_sharing(member, kind, members)}
                for kind, inode in member.inodes.items()
            },
        }
        for member in members
    ]
    out.write(json.dumps(rows, indent=2, ensure_ascii=False) + "\n")


def write_text(members: list[Member], out: TextIO) -> None:
    """Write the table as text: the inode at its first member, then the name of that member."""
    paint = Paint(out)
    width = max(len(member.name) for member in members) + 3
    out.write(paint.bold("".ljust(width) + "".join(k.ljust(_CELL_WIDTH) for k in KINDS).rstrip()))
    out.write("\n")
    first: dict[tuple[str, int], str] = {}
    for member in members:
        cells = []
        for kind, inode in member.inodes.items():
            owner = first.setdefault((kind, inode), member.name)
            cell = str(inode) if owner == member.name else _owner_text(owner)
            padding = " " * max(_CELL_WIDTH - len(cell), 1)
            cells.append((cell if owner != member.name else paint.bold(cell)) + padding)
        out.write(f"{member.name:<{width}}{''.join(cells).rstrip()}\n")


def _owner_text(owner: str) -> str:
    shown = owner if owner == HOST else f"={owner}"
    return shown if len(shown) < _CELL_WIDTH else shown[: _CELL_WIDTH - 2] + "…"


def member_of(container: Container, members: list[Member]) -> Member | None:
    """The member of a container; None if it does not run."""
    return next((member for member in members if member.id == container.id), None)
