"""layers --watch: the events match what `where` and the kernel report afterwards."""

from __future__ import annotations

import os
import random
import shutil
import stat
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import session_directory
from minidock.engine.image.upper_walk import changed_meanwhile
from minidock.kernel.inotify import Inotify
from minidock.teach.layers.changes import summary_of
from minidock.teach.layers.layer import Layer
from minidock.teach.layers.path_history import history_of
from minidock.teach.layers.stack import Stack
from minidock.teach.layers.watch import Event, Watcher
from support.layered import Acts, Model, mounted

pytestmark = pytest.mark.root


@pytest.fixture
def place() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="watch", dir=session_directory()))
    for name in ("lower", "upper", "work", "merged"):
        (directory / name).mkdir()
    yield directory
    shutil.rmtree(directory)


class Watched:
    """One lower layer and an upper one, mounted, and a watch on the upper one."""

    def __init__(self, place: Path, changes: Inotify, upper: Layer) -> None:
        self.root = place / "merged"
        self.upper = upper
        self.layers = [
            Layer(2, f"{place}/upper", is_live=True), Layer(1, f"{place}/lower")
        ]  # fmt: skip
        self._watcher = Watcher(upper, self.layers, changes)
        self._watcher.begin()
        self.events: list[Event] = []

    def told(self) -> dict[str, str]:
        """The events so far: path -> event."""
        new = list(self._watcher.wait(0.02))
        self.events += new
        return {event.path: event.event for event in new}


@pytest.fixture
def watched(place: Path) -> Iterator[Watched]:
    lower = place / "lower"
    for name in ("etc", "var", "var/cache", "srv"):
        (lower / name).mkdir()
    for name in ("etc/passwd", "etc/motd", "etc/group", "var/cache/x"):
        (lower / name).write_text(name)
    with (
        mounted([lower], place / "upper", place / "work", place / "merged"),
        Inotify() as changes,
        Layer(2, f"{place}/upper", is_live=True) as upper,
    ):
        yield Watched(place, changes, upper)


def test_each_change_is_reported_when_it_happens(watched: Watched, place: Path) -> None:
    root, upper = watched.root, place / "upper"
    with open(root / "etc/passwd", "a") as file:
        file.write("x")
    assert watched.told() == {"/etc": "merged", "/etc/passwd": "copied up"}
    assert os.getxattr(upper / "etc/passwd", "trusted.overlay.origin")

    (root / "etc/motd").unlink()
    assert watched.told() == {"/etc/motd": "deleted"}
    status = os.lstat(upper / "etc/motd")
    assert stat.S_ISCHR(status.st_mode) and status.st_rdev == 0

    shutil.rmtree(root / "var")
    assert watched.told() == {"/var": "deleted"}
    (root / "var").mkdir()
    assert watched.told() == {"/var": "opaque"}
    assert os.getxattr(upper / "var", "trusted.overlay.opaque") == b"y"

    (root / "opt/a/b").mkdir(parents=True)
    (root / "opt/a/b/c").write_text("c")
    assert watched.told() == dict.fromkeys(("/opt", "/opt/a", "/opt/a/b", "/opt/a/b/c"), "added")
    shutil.rmtree(root / "opt")
    assert watched.told() == {"/opt": "gone"}

    os.rename(root / "etc/group", root / "srv/group")
    assert watched.told() == {
        "/etc/group": "deleted", "/srv": "merged", "/srv/group": "renamed",
    }  # fmt: skip
    assert next(e for e in watched.events if e.event == "renamed").sentences == [
        "It was copied up from layer 1 as /etc/group, and renamed."
    ]
    with open(root / "etc/passwd", "a") as file:
        file.write("more, into the copy")
    assert watched.told() == {}


@pytest.mark.parametrize("times", [1, 20])
@pytest.mark.parametrize("call", ["names", "entry", "attribute"])
def test_what_is_replaced_while_it_is_looked_at_is_looked_at_again(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, call: str, times: int
) -> None:
    for name in ("a", "b"):
        (watched.root / "srv" / name).write_text(name)
    assert watched.told() == {"/srv": "merged", "/srv/a": "added", "/srv/b": "added"}
    (watched.root / "srv/c").write_text("c")
    upper, left = watched.upper, [times]
    look = getattr(upper, call)

    def in_the_way(path: bytes, *more: str) -> Any:
        if path.startswith(b"srv") and left[0]:
            left[0] -= 1
            raise changed_meanwhile(path)
        return look(path, *more)

    monkeypatch.setattr(upper, call, in_the_way)
    for _ in range(times):
        watched.told()
    assert left == [0]
    assert [(event.path, event.event) for event in watched.events[3:]] == [("/srv/c", "added")]


@pytest.mark.parametrize("seed", range(6))
def test_the_last_word_on_each_path_is_the_truth(watched: Watched, place: Path, seed: int) -> None:
    """Random acts in another thread, while it is watched: nothing is missed, nothing made up."""
    acts = Acts(Model(), watched.root, random.Random(seed))
    for name in ("etc", "srv", "var"):
        shutil.rmtree(watched.root / name)
    watched.told()
    writer = threading.Thread(target=lambda: [acts.act() for _ in range(400)])
    writer.start()
    while writer.is_alive():
        watched.told()
    writer.join()
    while watched.told():
        pass
    upper = place / "upper"
    there = [f"/{path.relative_to(upper)}" for path in upper.rglob("*")]
    assert _heard(watched.events) == {
        path: history_of("", watched.layers, path).event for path in there
    }


def test_what_changes_meanwhile_is_read_again(watched: Watched) -> None:
    """Nobody trips over a directory that is gone once it is looked at."""
    writing, seen = True, set[str]()

    def write() -> None:
        while writing:
            for name in "abcdefgh":
                (watched.root / name).mkdir()
            for name in "abcdefgh":
                (watched.root / name).rmdir()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(1000):
            with Stack(watched.layers) as stack:
                seen.add(str(summary_of(stack, stack.layers[0])))
    finally:
        writing = False
        writer.join()
    assert len(seen) > 1, "nothing changed while it was looked at"


def _heard(events: list[Event]) -> dict[str, str]:
    """The state that follows from all events: path -> its state.

    Whatever becomes of a directory, but for its being copied up, is the end of all that was in it.
    """
    known: dict[str, str] = {}
    for event in events:
        if event.event != "merged":
            known = {p: e for p, e in known.items() if not f"{p}/".startswith(f"{event.path}/")}
        if event.event != "gone":
            known[event.path] = event.event
    return known
