"""Which layer a file comes from: worked out from the layers, held against a model and the kernel.

Three layers and more are written at random through overlay mounts. Then each path that there could
be is looked up in the layers alone. A model (support/layered.py), which knows nothing of overlayfs,
says which layer must be the answer and what was done; the mount says what is seen.
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from conftest import session_directory
from minidock.errors import NotFound
from minidock.teach.layers.changes import changes_of
from minidock.teach.layers.layer import Layer
from minidock.teach.layers.path_history import history_of
from minidock.teach.layers.stack import Lookup, Stack
from support.layered import NAMES, Acts, Model, mounted

pytestmark = pytest.mark.root

EVERY_PATH = [
    "/" + "/".join(names) for depth in (1, 2, 3) for names in itertools.product(NAMES, repeat=depth)
]


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that may hold an upper layer."""
    directory = Path(tempfile.mkdtemp(prefix="layers", dir=session_directory()))
    yield directory
    shutil.rmtree(directory)


class Written:
    """Layers that were written at random: models[n] is what was seen with n layers."""

    def __init__(self, place: Path, seed: int, *, count: int, options: str = "") -> None:
        self.place = place
        self.options = options
        self.dice = random.Random(seed)
        self.model = Model(moves_directories="redirect_dir=on" in options)
        self.directories = [self._new(f"layer{number}") for number in range(count + 1)]
        self.trees = [dict(self.model.root.paths())]
        for number in range(1, count + 1):
            with self.mounted(number) as root:
                self.model.begin(number)
                acts = Acts(self.model, root, self.dice)
                for _ in range(35):
                    acts.act()
                if number < count:
                    self.trees.append(_copied(self.model))

    def _new(self, name: str) -> Path:
        (self.place / name).mkdir()
        return self.place / name

    def mounted(self, number: int) -> AbstractContextManager[Path]:
        """The first layers as one, the last of them written to."""
        lowers = self.directories[number - 1 :: -1]
        work, root = self.place / f"work{number}", self.place / "merged"
        work.mkdir(exist_ok=True)
        root.mkdir(exist_ok=True)
        return mounted(lowers, self.directories[number], work, root, self.options)

    def layers(self, *, live: bool = True) -> list[Layer]:
        """All of them, topmost first; the last is as a container's, the first an empty one."""
        last = len(self.directories) - 1
        return [
            Layer(number, str(path), is_live=live and number == last)
            for number, path in reversed(list(enumerate(self.directories)))
        ]


def _copied(model: Model) -> dict[str, object]:
    return {path: (node.kind, node.content, node.mode) for path, node in model.root.paths().items()}


def look_up(stack: Stack, path: str) -> Lookup | None:
    try:
        found = stack.look_up(path.encode())
    except NotFound:
        return None
    return found if found.visible else None


def content(found: Lookup) -> str:
    """What is in the file that was found, where it was found."""
    place = found.visible[-1].host_path
    return os.readlink(place) if os.path.islink(place) else Path(place).read_text()


KINDS = {"file": stat.S_ISREG, "directory": stat.S_ISDIR, "link": stat.S_ISLNK}


@pytest.mark.parametrize("seed", range(10))
def test_a_lookup_agrees_with_a_model_and_with_the_mount(place: Path, seed: int) -> None:
    written = Written(place, seed, count=3 + seed % 3)
    _agree(written)


@pytest.mark.parametrize("seed", range(6))
def test_a_lookup_follows_renamed_directories_and_split_files(place: Path, seed: int) -> None:
    written = Written(place, seed, count=3 + seed % 3, options=",redirect_dir=on,metacopy=on")
    _agree(written, by_layer=False)


def _agree(written: Written, *, by_layer: bool = True) -> None:
    last = len(written.directories) - 1
    with written.mounted(last) as root, Stack(written.layers()) as stack:
        for path in EVERY_PATH:
            node, found = written.model.find(path), look_up(stack, path)
            seen = root / path[1:]
            assert (found is not None) == (node is not None) == os.path.lexists(seen), path
            if found is None or node is None:
                continue
            top = found.visible[0]
            status = os.lstat(seen)
            assert KINDS[node.kind](top.entry.status.st_mode), path
            assert (top.entry.status.st_mode, top.entry.status.st_uid) == (
                status.st_mode, status.st_uid,
            )  # fmt: skip
            if node.kind != "directory":
                assert content(found) == node.content
                if by_layer:
                    assert top.layer.number == node.touched, path
            if node.kind == "file":
                assert seen.read_text() == node.content


def test_what_happened_to_a_file_is_what_was_done_to_it(place: Path) -> None:
    told: set[str] = set()
    for seed in range(10, 20):
        (place / str(seed)).mkdir()
        told |= _told(Written(place / str(seed), seed, count=4))
    assert told == {
        "image", "added", "copied up", "renamed", "replaced", "deleted", "opaque", "merged",
        "absent",
    }  # fmt: skip


def _told(written: Written) -> set[str]:
    """Each path's history is the model's; returns what was told."""
    model, told = written.model, set()
    for path in EVERY_PATH:
        node = model.find(path)
        try:
            history = history_of("c", written.layers(), path)
        except NotFound:
            assert node is None, path
            continue
        told.add(history.event)
        if node is not None and node.kind == "directory" and node.born < model.layer:
            assert history.event in ("image", "merged")
        elif node is None and model.before.get(path) is None:  # it was gone before
            assert history.event in ("deleted", "absent")
            assert history.event == "absent" or not history.found.versions[0].layer.is_live
        else:
            assert history.event == _expected(model, path), (path, history.sentences)
    return told


def _expected(model: Model, path: str) -> str:
    """What `where` must say of a path, by the model alone; but for directories of old."""
    node, old = model.find(path), model.before.get(path)
    if node is None:
        parent = path.rpartition("/")[0]
        above = model.find(parent) if parent else model.root
        is_merged = above is not None and above.kind == "directory" and above.born < model.layer
        return "deleted" if is_merged else "absent"
    if node.touched < model.layer:
        return "image"
    if node.born == model.layer:
        both = old is not None and old.kind == node.kind == "directory"
        return "opaque" if both else "replaced" if old is not None else "added"
    same_place = node.at == path and old is not None and old.kind == node.kind
    return "copied up" if same_place else "renamed"


@pytest.mark.parametrize("seed", range(20, 26))
def test_what_a_layer_does_is_the_difference_that_it_makes(place: Path, seed: int) -> None:
    written = Written(place, seed, count=4)
    trees = [*written.trees, _copied(written.model)]
    with Stack(written.layers(live=False)) as stack:
        for number in range(1, 5):
            layer = next(x for x in stack.layers if x.number == number)
            changes = {("/" + os.fsdecode(c.path), c.kind) for c in changes_of(stack, layer)}
            before, after = trees[number - 1], trees[number]
            opaque = {path for path, kind in changes if kind in "OC"}
            added = {path for path, kind in changes if kind == "A"}
            replaced = {p for p in set(after) - added if p in before and after[p] != before[p]}
            assert set(after) - set(before) <= added
            assert replaced <= opaque
            deleted = {path for path, kind in changes if kind == "D"}
            for path in set(before) - set(after):
                whole = [path[:cut] for cut in range(2, len(path) + 1) if path[:cut] in before]
                assert deleted.intersection(whole) or opaque.intersection(whole), path
            assert not deleted & set(after)
