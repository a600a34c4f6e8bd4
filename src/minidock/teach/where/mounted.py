"""where CONTAINER:PATH, where something is mounted over the layers there: a volume, /proc, /dev."""

from __future__ import annotations

import json
import shlex

from minidock.kernel.mount import mount_table, unescaped
from minidock.teach.page import Paint
from minidock.teach.where.image import mount_line
from minidock.teach.where.shown import Shortener

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TextIO

    from minidock.engine.container.containers import Container


class Mounted:
    """The mount, other than the root's, in which a path of a container lies.

    point: where it is mounted. kind: of its file system, or "bind". source: the host's path that
    the path means, or "" where it is on no disk of the host. command: what shows it.
    """

    def __init__(self, name: str, path: str, point: str, kind: str, source: str) -> None:
        self.name = name
        self.path = path
        self.point = point
        self.kind = kind
        self.source = source
        self.command = ""

    def sentence(self) -> str:
        """What is to be said of it."""
        if self.source:
            return f"It is not in a layer: mounted at {self.point}, it is the host's {self.source}"
        return f"It is not in a layer: a file system of the kind {self.kind} is at {self.point}"

    def plain(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        return {"event": "mounted", **vars(self), "sentences": [self.sentence()]}


def mount_of(container: Container, path: str) -> Mounted | None:
    """The mount in which a path lies; None where it is in the layers.

    Of a running container the kernel is asked, of others the config of its last start. path:
    absolute, without links and "..".
    """
    pid = container.state["Pid"]
    found = configured = _deepest(_configured(container), path)
    try:
        found = _deepest(_in_kernel(pid), path) if pid else configured
    except (FileNotFoundError, ProcessLookupError):
        pid = 0  # it has just ended
    if found is None or found[0] == "/":
        return None
    point, kind, source = found
    if configured is not None and configured[0] == point:
        source = configured[2]
    rest = path[len(point) :]
    mounted = Mounted(container.name, path, point, kind, source + rest if source else "")
    if mounted.source:
        mounted.command = shlex.join(["ls", "-ld", mounted.source])
    elif pid:
        mounted.command = shlex.join(mount_line(pid, point))
    else:
        mounted.command = shlex.join(["grep", "-o", json.dumps(point), container.paths.config])
    return mounted


def _deepest(mounts: list[tuple[str, str, str]], path: str) -> tuple[str, str, str] | None:
    """The mount that a path is in; of two at one place the later, which covers the other."""
    best = None
    for mount in mounts:
        point = mount[0].rstrip("/")
        if path == point or path.startswith(f"{point}/"):
            best = mount if best is None or len(point) >= len(best[0].rstrip("/")) else best
    return best


def _in_kernel(pid: int) -> list[tuple[str, str, str]]:
    """(mount point, kind, "") of each mount that a process sees."""
    halves = [line.partition(" - ") for line in mount_table(pid)]
    return [(unescaped(left.split(" ")[4]), right.split(" ")[0], "") for left, _, right in halves]


def _configured(container: Container) -> list[tuple[str, str, str]]:
    """(mount point, kind, the host's path) of each mount of the bundle's config."""
    try:
        with open(container.paths.config, encoding="utf-8") as file:
            mounts = json.load(file)["mounts"]
    except FileNotFoundError:  # it was never started
        return []
    return [
        (m["destination"], m["type"], m["source"] if m["type"] == "bind" else "") for m in mounts
    ]


def write_text(mounted: Mounted, out: TextIO, variables: dict[str, str]) -> None:
    """Write it for people. variables: as in class Whole."""
    paint, used = Paint(out), Shortener(variables)
    body = [f"    {used.shorten(mounted.sentence())}."]
    body.append("    " + paint.command(f"$ {used.command(mounted.command)}"))
    out.write(paint.bold(f"{mounted.name}:{mounted.path}") + "\n")
    out.write("".join(f"    {line}\n" for line in used.assignments()))
    out.write("\n".join(body) + "\n")
