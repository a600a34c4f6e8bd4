"""A leftover that cannot be removed hinders no other command: each names it, and does its work.

A file in the leftover is immutable (chattr +i). `system check --repair` fails while it is.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from minidock.paths import Store
from support.command import Minidock

pytestmark = pytest.mark.root

_ID = "ab" * 32


def _work(store: Store, lost: str) -> Path:
    return Path(store.staging, "load-99999999-1")


def _half_removed_container(store: Store, lost: str) -> Path:
    return Path(store.container(_ID).upper)


def _half_created_volume(store: Store, lost: str) -> Path:
    return Path(store.volume("half"), "copying")


def _layer_without_image(store: Store, lost: str) -> Path:
    Path(store.lock).write_bytes(b"!")  # a change of images was interrupted
    return Path(store.layers, _ID, "diff")


def _files_of_a_lost_container(store: Store, lost: str) -> Path:
    return Path(store.container(lost).upper)


def _run_directory_of_a_lost_container(store: Store, lost: str) -> Path:
    return Path(store.container(lost).run)


@pytest.fixture
def lost(store: Store, minidock: Minidock, busybox_image: str) -> str:
    """A container of `run --rm` whose monitor was killed."""
    box = minidock.ok("run", "-d", "--rm", busybox_image, "sleep", "600")
    pid = minidock.ok("inspect", "-f", "{{.State.Pid}}", box)
    parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(parent, signal.SIGKILL)
    return box


@pytest.mark.parametrize("place", [
    _work, _half_removed_container, _half_created_volume, _layer_without_image,
    _files_of_a_lost_container, _run_directory_of_a_lost_container,
])  # fmt: skip
def test_other_commands_name_it_and_do_their_work(
    store: Store, minidock: Minidock, busybox_image: str, tmp_path: Path, lost: str,
    place: Callable[[Store, str], Path],
) -> None:  # fmt: skip
    kept = minidock.ok("create", "--name", "kept", busybox_image, "true")
    stuck = place(store, lost) / "stuck"
    stuck.parent.mkdir(parents=True, exist_ok=True)
    stuck.touch()
    (tmp_path / "Dockerfile").write_text(f"FROM {busybox_image}\nRUN touch /made\n")
    subprocess.run(["chattr", "+i", stuck], check=True)
    inode = stuck.stat().st_ino
    try:
        for words, printed in (
            (("ps", "-aq", "--no-trunc", "--filter", "name=kept"), kept),
            (("run", "--rm", busybox_image, "echo", "hi"), "hi"),
            (("images", "-q", "none"), ""),
            (("build", "-q", "-t", "two", str(tmp_path)), None),
            (("run", "--rm", "two", "ls", "/made"), "/made"),
            (("commit", "kept", "three"), None),
            (("rmi", "two", "three"), None),
            (("volume", "create", "one"), "one"),
            (("volume", "ls", "-q"), "one"),
            (("rm", "kept"), "kept"),
        ):
            answer = minidock(*words)
            assert answer.code == 0, str(answer)
            assert printed in (None, answer.stdout.strip()), str(answer)
        told = minidock("ps", "-a").stderr
        assert told.count("cannot be removed: stuck: Operation not permitted") == 1, told
        answer = minidock("system", "check", "--repair")
        assert answer.code == 1 and "cannot be removed: stuck: Op" in answer.stderr, str(answer)
    finally:
        find = ["find", store.root, store.run, "-xdev", "-inum", str(inode), "-exec"]
        subprocess.run([*find, "chattr", "-i", "{}", ";"], check=True)
    minidock.ok("system", "check", "--repair")
    assert minidock.ok("system", "check") == "no leftovers"
    assert minidock("ps", "-aq").stderr == ""
