"""Layers of shapes that no container writes, but archives may hold: the kernel's lookup is right.

And what overlayfs writes with redirect_dir and metacopy, one act at a time.
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from conftest import session_directory
from minidock.errors import NotFound
from minidock.teach.layers.layer import Layer
from minidock.teach.layers.path_history import history_of
from minidock.teach.layers.stack import Lookup, Stack
from support.layered import mounted

pytestmark = pytest.mark.root

NAMES = "abc"
EVERY_PATH = [
    "/".join(names) for depth in (1, 2, 3) for names in itertools.product(NAMES, repeat=depth)
]


@pytest.fixture
def place() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="shapes", dir=session_directory()))
    yield directory
    shutil.rmtree(directory)


def fill(directory: Path, dice: random.Random, depth: int = 1) -> None:
    """Files, links, directories, whiteouts and opaque directories, wherever the dice say."""
    for name in NAMES:
        path = directory / name
        leaf = ("", "", "file", "link", "whiteout", "whiteout")
        kind = dice.choice(leaf if depth == 3 else (*leaf, *["directory"] * 7, *["opaque"] * 3))
        if kind == "file":
            path.write_text(str(path))
        elif kind == "link":
            path.symlink_to("nowhere")
        elif kind == "whiteout":
            os.mknod(path, stat.S_IFCHR, os.makedev(0, 0))
        elif kind:
            path.mkdir(dice.choice((0o700, 0o755)))
            if kind == "opaque":
                os.setxattr(path, "trusted.overlay.opaque", b"y")
            fill(path, dice, depth + 1)


@contextmanager
def read_only(layers: list[Path], target: Path) -> Iterator[None]:
    """The layers as the kernel has them, topmost first."""
    lower = "lowerdir=" + ":".join(map(str, layers))
    subprocess.run(["mount", "-t", "overlay", "-o", lower, "overlay", target], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", target], check=True)


def look_up(stack: Stack, path: str) -> Lookup | None:
    try:
        found = stack.look_up(path.encode())
    except NotFound:
        return None
    return found if found.visible else None


@pytest.mark.parametrize("seed", range(12))
def test_any_layers_are_seen_as_the_kernel_sees_them(place: Path, seed: int) -> None:
    dice = random.Random(seed)
    paths = [place / f"layer{number}" for number in range(1, 5)]
    for path in paths:
        path.mkdir()
        fill(path, dice)
    target = place / "merged"
    target.mkdir()
    layers = [Layer(number, str(path)) for number, path in enumerate(paths, 1)][::-1]
    with read_only(paths[::-1], target), Stack(layers) as stack:
        for path in EVERY_PATH:
            found, seen = look_up(stack, path), target / path
            assert (found is not None) == os.path.lexists(seen), path
            if found is None:
                continue
            status, top = os.lstat(seen), found.visible[0]
            for merged in found.visible[1:]:
                assert (merged.role, merged.entry.is_directory) == ("merged", True)
            assert top.entry.status.st_mode == status.st_mode, path
            if stat.S_ISREG(status.st_mode):
                assert Path(top.host_path).read_text() == seen.read_text()
            _hidden_by_something(found)


def _hidden_by_something(found: Lookup) -> None:
    """Every version that does not count is hidden by one above it."""
    for version in found.versions:
        if version in found.visible:
            assert version.hidden_by is None
        elif version.role == "hidden":
            assert version.hidden_by is not None
            assert version.hidden_by.layer.number >= version.layer.number


class Changed:
    """A lower layer with a few files, and an upper one that is written to."""

    def __init__(self, place: Path) -> None:
        self.upper, self.lower, self.root = place / "upper", place / "lower", place / "merged"
        for name in ("upper", "lower", "work", "merged", "lower/old", "lower/old/in", "lower/to"):
            (place / name).mkdir()
        (self.lower / "old/in/file").write_text("content")
        (self.lower / "plain").write_text("plain")
        self.options = ",redirect_dir=on,metacopy=on"

    def layers(self) -> list[Layer]:
        return [Layer(2, str(self.upper), is_live=True), Layer(1, str(self.lower))]

    def versions(self, path: str) -> list[tuple[str, str]]:
        """(role, path in its layer) of those that count."""
        with Stack(self.layers()) as stack:
            visible = stack.look_up(path.encode()).visible
            return [(version.role, os.fsdecode(version.path)) for version in visible]


@pytest.fixture
def changed(place: Path) -> Iterator[Changed]:
    made = Changed(place)
    with mounted([made.lower], made.upper, place / "work", made.root, made.options):
        yield made


def test_a_renamed_directory_is_found_under_its_old_name(changed: Changed) -> None:
    os.rename(changed.root / "old/in", changed.root / "old/near")
    assert os.getxattr(changed.upper / "old/near", "trusted.overlay.redirect") == b"in"
    assert changed.versions("old/near") == [("seen", "old/near"), ("merged", "old/in")]
    assert changed.versions("old/near/file") == [("seen", "old/in/file")]
    os.rename(changed.root / "old/near", changed.root / "to/far")
    assert os.getxattr(changed.upper / "to/far", "trusted.overlay.redirect") == b"/old/in"
    assert changed.versions("to/far/file") == [("seen", "old/in/file")]
    assert changed.versions("old/in") == []


def test_a_file_whose_mode_alone_was_changed_is_still_read_below(changed: Changed) -> None:
    os.chmod(changed.root / "plain", 0o600)
    assert "trusted.overlay.metacopy" in os.listxattr(changed.upper / "plain")
    assert changed.versions("plain") == [("seen", "plain"), ("content", "plain")]
    history = history_of("c", changed.layers(), "/plain")
    assert history.event == "copied up"
    assert "the content is still read from there" in history.sentences[0]
    assert history.sentences[1] == "The content is the same; the mode has changed: 0644 before, " \
        "0600 now."  # fmt: skip
    with open(changed.root / "plain", "a") as file:
        file.write("!")
    assert changed.versions("plain") == [("seen", "plain")]


def test_a_file_with_hard_links_cannot_be_distinguished_from_a_new_one(place: Path) -> None:
    made = Changed(place)
    os.link(made.lower / "plain", made.lower / "second")
    with mounted([made.lower], made.upper, place / "work", made.root):
        with open(made.root / "plain", "a") as file:
            file.write("!")
        assert history_of("c", made.layers(), "/plain").event == "changed"


def test_links_are_followed_inside_and_never_to_the_host(changed: Changed) -> None:
    (changed.root / "near").symlink_to("old/in")
    (changed.root / "abs").symlink_to("/old/../old/./in")
    (changed.root / "to/up").symlink_to("/old/in")
    (changed.root / "out").symlink_to("../../../../../../old")
    (changed.root / "loop").symlink_to("loop")
    for path in ("/near/file", "/abs/file", "/out/in/file", "/old/in/../in/file", "/to/up/file"):
        assert changed.versions(path) == [("seen", "old/in/file")], path
    assert changed.versions("/near") == [("seen", "near")]
    for path, message in (
        ("/loop/x", "too many symbolic links"),
        ("/etc/passwd", "/etc does not exist"),
    ):
        with pytest.raises(Exception, match=message):
            history_of("c", changed.layers(), path)
    shutil.rmtree(changed.root / "to")
    (changed.root / "to").symlink_to("/etc")  # which the host has, and no layer
    with pytest.raises(NotFound):
        history_of("c", changed.layers(), "/to/passwd")
