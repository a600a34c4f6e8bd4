"""where CONTAINER:PATH, where something is mounted over the layers there: a volume, /proc, /dev."""

from __future__ import annotations

import json
import shlex
import stat

from minidock.teach.page import Paint
from minidock.teach.where.image import mount_line
from minidock.teach.where.output import Shortener

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TextIO

    from minidock.engine.container.containers import Container
    from minidock.teach.where.path_walk import Mount, PathWalk


class MountedPath:
    """The mount, other than the root's, in which a path of a container lies.

    path: as it was asked for. place: without links and "..". point: where it is mounted. kind: of
    its file system, or "bind". source: the host's path that the path means, or "" where it is on no
    disk of the host. target: of a link. command: what shows it.
    """

    def __init__(self, name: str, path: str, place: str, mount: Mount) -> None:
        rest = place[len(mount.point.rstrip("/")) :]
        self.name = name
        self.path = path
        self.place = place
        self.point = mount.point
        self.kind = mount.kind
        self.source = mount.source.rstrip("/") + rest if mount.source else ""
        self.command = ""
        self.links: list[str] = []
        self.target = ""

    def sentence(self) -> str:
        """What is to be said of it."""
        if self.source:
            return f"It is not in a layer: mounted at {self.point}, it is the host's {self.source}"
        return f"It is not in a layer: a file system of the kind {self.kind} is at {self.point}"

    def sentences(self) -> list[str]:
        """The links on the way, what is to be said of it, and where it leads if it is a link."""
        last = f"It points to {self.target}, which `where` tells of by that name."
        return [*self.links, f"{self.sentence()}.", *([last] if self.target else [])]

    def plain(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        told = {name: value for name, value in vars(self).items() if name != "links"}
        return {"event": "mounted", **told, "sentences": self.sentences()}


def mounted_at(container: Container, walk: PathWalk, path: str, *, pid: int) -> MountedPath | None:
    """What a way that was gone led to, where that is in a mount; None where it is in the layers.

    path: as it was asked for. pid: of the container's process, 0 where it does not run.
    """
    mount = walk.node.mount
    if mount is None:
        return None
    mounted = MountedPath(container.name, path, walk.path, mount)
    mounted.links = links_text(walk)
    if not walk.rest and walk.node.kind() == stat.S_IFLNK:
        mounted.target = walk.node.target()
    if mounted.source:
        mounted.command = shlex.join(["ls", "-ld", mounted.source])
    elif pid:
        mounted.command = shlex.join(mount_line(pid, mount.point))
    else:
        mounted.command = shlex.join(
            ["grep", "-o", json.dumps(mount.point), container.paths.config]
        )
    return mounted


def links_text(walk: PathWalk) -> list[str]:
    """The links that a way went through, a sentence each."""
    return [f"{link} is a link to {target}." for link, target in walk.links]


def write_text(mounted: MountedPath, out: TextIO, variables: dict[str, str]) -> None:
    """Write it for people. variables: as in class Whole."""
    paint, used = Paint(out), Shortener(variables)
    body = [f"    {used.shorten(sentence)}" for sentence in mounted.sentences()]
    body.append("    " + paint.command(f"$ {used.command(mounted.command)}"))
    out.write(paint.bold(f"{mounted.name}:{mounted.path}") + "\n")
    out.write("".join(f"    {line}\n" for line in used.assignments()))
    out.write("\n".join(body) + "\n")
