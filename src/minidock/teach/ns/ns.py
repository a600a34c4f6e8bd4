"""ns: which namespaces the containers have of their own, and which they share.

A namespace has no name. The kernel knows it by an inode of its nsfs, which /proc/PID/ns/KIND leads
to; two processes are in the same one if theirs are the same. "The host" means the namespaces that
this command itself is in.

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
    from typing import Any, TextIO

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
    """The inode of a process's namespace, by which the kernel tells it from all others.

    pid: or "self", for the host's. kind: as in /proc/PID/ns.
    Raises FileNotFoundError where the process has ended, PermissionError where nobody may ask. Of
    one that ends on the way to its namespace the kernel says EACCES or ESRCH, too.
    Source: fs/proc/namespaces.c (proc_ns_get_link).
    """
    path = f"/proc/{pid}/ns/{kind}"
    try:
        return os.stat(path).st_ino
    except (PermissionError, ProcessLookupError):
        if os.path.exists(f"/proc/{pid}"):
            raise
        raise FileNotFoundError(f"{path}: it has ended") from None


def ns_pids(pid: int) -> list[int]:
    """A process's number in our PID namespace, and in each one that it is nested in."""
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
        line = next(line for line in file if line.startswith("NSpid:"))
    return [int(number) for number in line.split()[1:]]


class Member:
    """Who is in namespaces: the host, a running container, or a process that has made more in one.

    pid: of a container's init, or of that process. within: the name of the container that such a
    process is in, else "". inodes: kind -> inode.
    """

    def __init__(self, name: str, container_id: str, pid: int | str, *, within: str = "") -> None:
        self.name = name
        self.within = within
        self.id = container_id
        self.pid = pid
        self.inodes = {kind: inode_of(pid, kind) for kind in KINDS}


def list_members(store: Store) -> list[Member]:
    """The host, and all containers that run, the oldest first; each before what was made in it."""
    found = [Member(HOST, "", "self")]
    for container in reversed(list_containers(store)):
        if pid := container.state["Pid"]:
            try:
                found.append(Member(container.name, container.id, pid))
            except FileNotFoundError:  # it has just ended
                continue
    for member in found[1:]:
        at = found.index(member) + 1
        found[at:at] = _processes_with_own(store, member, found)
    return found


def _processes_with_own(store: Store, member: Member, members: list[Member]) -> list[Member]:
    """Processes of a container that are in namespaces that nobody else is known to have.

    The lowest one of those that are in the same namespaces. That is how a container in a container
    looks, and a sandbox of a browser.
    """
    known = {(kind, inode) for each in members for kind, inode in each.inodes.items()}
    creators: dict[tuple[int, ...], Member] = {}
    for pid in sorted(cgroup_of(store, member.id).pids()):
        try:
            creator = Member(f"{member.name}:{pid}", member.id, pid, within=member.name)
        except (FileNotFoundError, PermissionError):  # it has just ended, or nobody may ask
            continue
        if not known.issuperset(creator.inodes.items()):
            creators.setdefault(tuple(creator.inodes.values()), creator)
    return list(creators.values())


def members_sharing(member: Member, kind: str, members: list[Member]) -> list[str]:
    """Who else is in a member's namespace of a kind; not what was made in the same container."""
    inode = member.inodes[kind]
    return [o.name for o in members if o.inodes[kind] == inode and o.id != member.id]


def write_json(members: list[Member], out: TextIO) -> None:
    """Write the table for machines."""
    rows: list[dict[str, Any]] = [
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
    """Write the table for people: an inode where a namespace is first met, then who has it."""
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
    """The member that a container is; None where it does not run."""
    return next((member for member in members if member.id == container.id), None)
