"""where CONTAINER:PATH finds what a process in the container finds, through links and mounts.

Trees of directories, files and links in the layers, a bind, a volume, and a tmpfs, and paths that
go from one to the other. The kernel is asked inside: stat(1) of each path.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from minidock.engine.container.lookup import find
from minidock.errors import MinidockError
from minidock.paths import Store
from minidock.teach.layers.path_history import PathHistory
from minidock.teach.where.mounted import MountedPath
from minidock.teach.where.path_answer import answer_for
from support.command import Minidock
from support.patience import long

pytestmark = pytest.mark.root

PLACES = ("/tree", "/bind", "/vol", "/vol/in", "/fast")
NAMES = ("a", "b", "c", "in", "..", "x y")
TARGETS = (*PLACES, "..", "../..", ".", "a", "b/a", "/etc", "../vol", "/vlink", "a/../b", "/proc")
Identity = tuple[int, int] | None


class Maze:
    """A container whose trees are random."""

    def __init__(self, minidock: Minidock, store: Store, rest: Path, seed: int) -> None:
        self.minidock, self.store = minidock, store
        self.random = random.Random(seed)
        (rest / "host").mkdir(parents=True)
        flags = ["--network", "none", "-v", f"{rest}/host:/bind", "-v", f"v{seed}:/vol",
                 "-v", f"w{seed}:/vol/in", "--tmpfs", "/fast", "--name", f"maze{seed}"]  # fmt: skip
        minidock.ok("run", "-d", *flags, "busybox", "sleep", "1000")
        self.name = f"maze{seed}"
        self._make()

    def _make(self) -> None:
        made = ["mkdir -p /tree; ln -s vol /vlink; exec 2>/dev/null"]
        for place in PLACES:
            for name in ("a", "b", "c", "a/a", "a/b", "b/a", "x y"):
                at = f"'{place}/{name}'"
                target = self.random.choice(TARGETS)
                kinds = (f"mkdir {at}", f"echo x > {at}", f"ln -s '{target}' {at}")
                made.append(self.random.choices(kinds, (3, 1, 4))[0])
        self.minidock.ok("exec", self.name, "sh", "-c", "; ".join(made) + "; true")

    def paths(self, count: int) -> list[str]:
        """Random ones. None ends in procfs, whose links differ for each process."""
        found = []
        for _ in range(count):
            start = self.random.choice((*PLACES, "/vlink", "/etc", "/dev/shm", "/proc"))
            names = self.random.choices(NAMES, k=self.random.randint(0, 5))
            found.append("/".join([start, *names]) + self.random.choice(("", "", "/", "/.")))
        return found

    def inside(self, paths: list[str]) -> list[Identity]:
        """Device and inode of each, as a process inside has them; None for none."""
        look = 'for p; do stat -c "%d %i" -- "$p" 2>/dev/null || echo none; done'
        told = self.minidock.ok("exec", self.name, "sh", "-c", look, "sh", *paths).splitlines()
        numbers = [line.split() for line in told]
        return [(int(n[0]), int(n[1])) if n != ["none"] else None for n in numbers]

    def ask(self, path: str) -> MountedPath | PathHistory | None:
        try:
            return answer_for(find(self.store, self.name), path)
        except MinidockError:
            return None

    def identity(self, answer: MountedPath | PathHistory | None) -> Identity:
        """The same of what `where` says, on the host; where it is on no disk, inside once more."""
        container = find(self.store, self.name)
        if isinstance(answer, MountedPath) and not answer.source:
            path = f"/proc/{container.state['Pid']}/root{answer.place}"
        elif isinstance(answer, MountedPath):
            path = answer.source
        elif answer is not None and answer.found.visible:
            path = f"{container.paths.merged}/{os.fsdecode(answer.found.path)}"
        else:
            return None
        try:
            status = os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return status.st_dev, status.st_ino


def place_of(answer: MountedPath | PathHistory | None) -> str:
    """Where an answer says that a path leads."""
    if isinstance(answer, MountedPath):
        return f"{answer.place} at {answer.point}, {answer.source}"
    return f"/{os.fsdecode(answer.found.path)}" if answer and answer.found.visible else ""


def _sentences(answer: MountedPath | PathHistory | None) -> list[str]:
    return answer.plain()["sentences"] if answer else []


def test_a_path_is_resolved_as_the_container_resolves_it(
    minidock: Minidock, busybox_image: str, store: Store, tmp_path: Path
) -> None:
    through = 0
    for seed in range(long(3, 60)):
        maze = Maze(minidock, store, tmp_path / str(seed), seed)
        paths = maze.paths(150)
        answers = {path: maze.ask(path) for path in paths}
        for path, fact in zip(paths, maze.inside(paths), strict=True):
            answer = answers[path]
            assert maze.identity(answer) == fact, (seed, path, place_of(answer))
            through += isinstance(answer, MountedPath)
        minidock.ok("stop", "-t", "0", maze.name)
        for path in paths:  # what a tmpfs held is gone, and what procfs will hold unknown
            planned = maze.ask(path)
            before = answers[path]
            ways = path + "".join(_sentences(before)) + "".join(_sentences(planned))
            if not any(word in ways for word in ("fast", "proc", "shm")):
                assert place_of(planned) == place_of(before), (seed, path)
        minidock.ok("rm", maze.name)
    assert through > 50


def test_links_lead_through_binds_and_volumes(
    minidock: Minidock, busybox_image: str, store: Store, tmp_path: Path
) -> None:
    """The path of each case, before the first start, while it runs, and afterwards."""
    (tmp_path / "link").symlink_to("/etc")
    (tmp_path / "in").symlink_to("../v/q")
    flags = ("--network", "none", "-v", f"{tmp_path}:/bind", "-v", "data:/v")
    minidock.ok("create", "--name", "box", *flags, "busybox", "sleep", "1000")
    volume = f"{store.root}/volumes/data/_data"
    expected = {
        "/bind/link/passwd": "/etc/passwd",
        "/bind/link": f"/bind/link at /bind, {tmp_path}/link",
        "/bind/../etc/passwd": "/etc/passwd",
        "/etc/../v/q": f"/v/q at /v, {volume}/q",
        "/bind/in/x/..": f"/v/q at /v, {volume}/q",
        "/dev/shm/../../etc/passwd": "/etc/passwd",
        "/bind/nothing/../x": "",
    }
    (Path(volume) / "q/x").mkdir(parents=True, exist_ok=True)

    def told() -> dict[str, str]:
        return {path: place_of(_ask(store, path)) for path in expected}

    assert told() == expected
    minidock.ok("start", "box")
    minidock.ok("exec", "box", "ln", "-s", "v", "/vlink")
    expected |= {"/vlink/q": f"/v/q at /v, {volume}/q"}
    assert told() == expected
    links = minidock.ok("where", "box:/bind/in/x").splitlines()
    assert "    /bind/in is a link to ../v/q." in links
    assert "It points to /etc, look it up with `where`" in minidock.ok("where", "box:/bind/link")
    minidock.ok("stop", "-t", "0", "box")
    assert told() == expected


def _ask(store: Store, path: str) -> MountedPath | PathHistory | None:
    try:
        return answer_for(find(store, "box"), path)
    except MinidockError:
        return None


def test_a_hard_link_is_not_a_rename(
    minidock: Minidock, busybox_image: str, store: Store, tmp_path: Path
) -> None:
    (tmp_path / "Dockerfile").write_text("FROM busybox\nRUN echo linked > /one && ln /one /two\n")
    minidock.ok("build", "-q", "-t", "links", str(tmp_path))
    make = "mv /one /three; ln /two /four; "
    make += "ln /etc/passwd /etc/two; mv /etc/group /moved; ln /moved /again; echo > /n; ln /n /m"
    minidock.ok("run", "-d", "--name", "box", "--network", "none", "links", "sh", "-c",
                f"{make}; echo made; exec sleep 1000")  # fmt: skip
    while "made" not in minidock.ok("logs", "box"):
        pass
    events = {path: _ask(store, path) for path in ("/etc/two", "/etc/passwd", "/moved", "/n")}
    told = {path: seen.event for path, seen in events.items() if isinstance(seen, PathHistory)}
    assert told == {
        "/etc/two": "linked", "/etc/passwd": "copied up", "/moved": "renamed", "/n": "added",
    }  # fmt: skip
    inodes = minidock.ok("exec", "box", "stat", "-c", "%i", "/etc/two", "/etc/passwd").split()
    assert inodes[0] == inodes[1]
    assert "the same file as /etc/passwd." in minidock.ok("where", "box:/etc/two")
    assert "It has further hard links: /m." in minidock.ok("where", "box:/n")
    assert "It has further hard links: /again." in minidock.ok("where", "box:/moved")
    assert "Or it was /one of layer 2" in minidock.ok("where", "box:/three")
    assert "the same file as /two." in minidock.ok("where", "box:/four")
