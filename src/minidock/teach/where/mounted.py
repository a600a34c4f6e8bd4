"""where CONTAINER:PATH for a path in a mount over the layers: a volume, /proc, /dev."""

from __future__ import annotations

import json
import shlex
import stat

from minidock.teach.page import Paint
from minidock.teach.where.image import mount_line
from minidock.teach.where.output import Shortener

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

    from minidock.engine.container.containers import Container
    from minidock.teach.where.path_walk import Mount, PathWalk


class MountedPath:
    """A path of a container in a mount other than the root's.

    path: as given. place: without links and "..". point: the mount point. kind: the type of the
    file system, or "bind". source: the path on the host, "" if it is not on a disk of the host.
    target: of a symbolic link. command: shows it.
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
        """Where the path is, as a sentence."""
        if self.source:
            return f"It is in a mount at {self.point}, not in a layer: the host's {self.source}"
        return (
            f"It is in a mount at {self.point}, not in a layer: a file system of type {self.kind}"
        )

    def sentences(self) -> list[str]:
        """All sentences: links on the path, where it is, and its target if it is a link."""
        last = f"It points to {self.target}, look it up with `where`."
        return [*self.links, f"{self.sentence()}.", *([last] if self.target else [])]

    def plain(self) -> dict[str, object]:
        """The answer as a JSON object."""
        members = {name: value for name, value in vars(self).items() if name != "links"}
        return {"event": "mounted", **members, "sentences": self.sentences()}


def mounted_at(container: Container, walk: PathWalk, path: str, *, pid: int) -> MountedPath | None:
    """The answer for the end of a path walk in a mount; None if it is in the layers.

    path: as given. pid: of the container's process, 0 if it does not run.
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
    """The links that a path walk followed, a sentence each."""
    return [f"{link} is a link to {target}." for link, target in walk.links]


def write_text(mounted: MountedPath, out: TextIO, variables: dict[str, str]) -> None:
    """Write it as text. variables: as in class Location."""
    paint, used = Paint(out), Shortener(variables)
    body = [f"    {used.shorten(sentence)}" for sentence in mounted.sentences()]
    body.append("    " + paint.command(f"$ {used.command(mounted.command)}"))
    out.write(paint.bold(f"{mounted.name}:{mounted.path}") + "\n")
    out.write("".join(f"    {line}\n" for line in used.assignments()))
    out.write("\n".join(body) + "\n")
