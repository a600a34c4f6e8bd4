"""where CONTAINER:PATH: the history of a path in the layers, or its mount."""

from __future__ import annotations

import os
import stat
import time

from minidock.errors import Conflict, NotFound
from minidock.teach.layers.find import of_container
from minidock.teach.layers.path_history import PathHistory, command_for, history_of, kind_of
from minidock.teach.page import WIDTH, Paint, size
from minidock.teach.where.mounted import MountedPath, links_text, mounted_at
from minidock.teach.where.output import Shortener
from minidock.teach.where.path_walk import StoppedRoot, follow, root_of_running

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

    from minidock.engine.container.containers import Container
    from minidock.teach.layers.layer import Version
    from minidock.teach.where.path_walk import PathNode

_ATTEMPTS = 20
_PAUSE_SECONDS = 0.01


def answer_for(container: Container, path: str) -> PathHistory | MountedPath:
    """Explain a path of a container, in its layers or in a mount.

    Raises NotFound as `history_of`.
    """
    pid = int(container.state["Pid"])
    try:
        return (
            _answer(container, path, root_of_running(pid), pid)
            if pid
            else _answer_stopped(container, path)
        )
    except (FileNotFoundError, ProcessLookupError):  # it has just exited
        return _answer_stopped(container, path)


def _answer_stopped(container: Container, path: str) -> PathHistory | MountedPath:
    with StoppedRoot(container) as root:
        return _answer(container, path, root, 0)


def _answer(container: Container, path: str, root: PathNode, pid: int) -> PathHistory | MountedPath:
    walk = follow(root, path)
    if ".." in walk.rest or walk.rest == ["."]:
        here = "/".join(name for name, _ in walk.levels)
        through = here if walk.node.kind() not in (stat.S_IFDIR, 0) else f"{here}/{walk.rest[0]}"
        raise NotFound(f"{path} leads through {through}, which is not a directory")
    if mounted := mounted_at(container, walk, path, pid=pid):
        return mounted
    history = _stable_history(container, walk.path)
    history.path = path
    history.sentences[:0] = links_text(walk)
    return history


def _stable_history(container: Container, path: str) -> PathHistory:
    """The history of a path, again if a parent was replaced meanwhile."""
    for _ in range(_ATTEMPTS):
        try:
            return history_of(container.name, of_container(container), path)
        except Conflict:  # a parent directory was replaced meanwhile
            time.sleep(_PAUSE_SECONDS)
    return history_of(container.name, of_container(container), path)


def write_text(history: PathHistory, out: TextIO, variables: dict[str, str]) -> None:
    """Write it as text: the history, then all versions, topmost first.

    variables: as in class Location.
    """
    from textwrap import fill

    paint, used = Paint(out), Shortener(variables)
    body = [
        fill(text, WIDTH, initial_indent=" " * 4, subsequent_indent=" " * 4)
        for text in history.sentences
    ]
    for version in history.found.versions:
        command = used.command(command_for(version))
        body += ["", f"  {version.layer.name:<9} {_described(version)}"]
        body.append(" " * 12 + paint.command(f"$ {command}"))
    out.write(paint.bold(f"{history.name}:{history.path}") + "\n")
    out.write("".join(f"    {line}\n" for line in used.assignments()))
    out.write("\n".join(body) + "\n")


def _described(version: Version) -> str:
    """A version's kind and role."""
    status, barrier = version.entry.status, version.hidden_by
    detail = f", {size(status.st_size)}" if stat.S_ISREG(status.st_mode) else ""
    role = _ROLES[version.role]
    if barrier is not None:
        here = barrier.path == version.path
        role = f"hidden by {barrier.layer.name}" + (
            "" if here else f", where /{os.fsdecode(barrier.path)} is {_a(kind_of(barrier))}"
        )
    return f"{kind_of(version)}{detail}: {role}"


def _a(noun: str) -> str:
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


_ROLES = {
    "seen": "this is seen",
    "merged": "its files are seen too",
    "content": "its content is seen",
    "whiteout": "marks the file as deleted",
    "hidden": "hidden",
}
