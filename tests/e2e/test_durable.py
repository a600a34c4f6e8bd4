"""What a command has made is on the disk before the command says so; and `run --rm` waits for none.

strace tells in which order a command has files written out (fsync, syncfs) and named (rename). And
commands are killed at any moment: a copy of the store as it is then has no damage. Power cuts of a
whole machine: tests/e2e/test_power_cut.py.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from minidock.paths import Store
from support import stores
from support.command import Minidock, command_line, environment
from support.patience import patience

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]

LONG = bool(os.environ.get("MINIDOCK_LONG"))
DOCKERFILE = "FROM busybox\nRUN dd if=/dev/zero of=/file bs=1M count=4\nRUN echo x > /other\n"


def _calls(minidock: Minidock, *arguments: str, stdin: str = "") -> list[tuple[str, str]]:
    """(call, the path that it is about) of what a command and its monitor sync and rename."""
    with tempfile.NamedTemporaryFile() as log:
        traced = "trace=fsync,fdatasync,syncfs,sync,sync_file_range,rename,renameat,renameat2"
        subprocess.run(
            ["strace", "-f", "-y", "-s", "4096", "-e", traced, "-o", log.name, *command_line(),
             *arguments],
            input=stdin.encode(), env=environment(minidock.root), check=True,
            capture_output=True, timeout=patience(60),
        )  # fmt: skip
        lines = Path(log.name).read_text().splitlines()
    found = []
    for line in lines:
        if call := re.search(r"(\w+)\((.*)", line.partition("<... ")[0]):
            name, words = call[1], call[2]
            if name.startswith("rename"):
                found.append(("rename", words.rpartition(', "')[2].partition('"')[0]))
            elif "sync" in name:
                found.append((name, words.partition("<")[2].partition(">")[0]))
    return found


def _in_order(calls: list[tuple[str, str]], *wanted: tuple[str, str]) -> bool:
    """Whether calls that match come in this order; a path matches by a regular expression."""
    rest = iter(calls)
    return all(any(c == call and re.search(at, path) for c, path in rest) for call, at in wanted)


@pytest.fixture
def busybox(minidock: Minidock, busybox_image: str) -> Iterator[str]:
    yield busybox_image
    if ids := minidock.ok("ps", "-aq").split():
        minidock.ok("rm", "-f", *ids)


def test_run_rm_waits_for_no_disk(minidock: Minidock, busybox: str) -> None:
    minidock.ok("run", "--rm", busybox, "true")  # what the store's first run makes is made
    calls = _calls(minidock, "run", "--rm", busybox, "true")
    assert [call for call in calls if call[0] != "rename"] == []
    assert any(path.endswith("container.json") for _, path in calls), "strace sees nothing"


def test_documents_are_on_the_disk_before_their_names(minidock: Minidock, busybox: str) -> None:
    calls = _calls(minidock, "create", "--name", "box", "-v", "kept:/k", busybox, "true")
    for document in ("volumes/kept/volume.json", "containers/[0-9a-f]+/container.json"):
        folder = os.path.dirname(document)
        assert _in_order(calls, ("fsync", f"{document}.*new"), ("rename", f"{document}$"),
                         ("fsync", f"{folder}$")), (document, calls)  # fmt: skip
    for folder in ("containers", "names", "volumes"):
        assert ("fsync", f"{minidock.root}/{folder}") in calls
    calls = _calls(minidock, "network", "create", "net")
    assert _in_order(calls, ("fsync", "net.json.new"), ("rename", "net.json$"),
                     ("fsync", "/networks$")), calls  # fmt: skip


def test_layers_are_on_the_disk_before_an_image_or_a_step_names_them(
    minidock: Minidock, busybox: str, tmp_path: Path
) -> None:
    images = (("fsync", "images.json.*new"), ("rename", "images.json$"), ("fsync", "/s[^/]*$"))
    layer = (("syncfs", "/staging"), ("rename", "/layers/[0-9a-f]{64}$"))
    minidock.ok("run", "--name", "box", busybox, "sh", "-c", "echo mine > /mine")
    calls = _calls(minidock, "commit", "box", "mine")
    assert _in_order(calls, *layer, ("fsync", "/layers$"), *images), calls
    assert _in_order(calls, ("fsync", "/blobs/.*new"), ("rename", "/blobs/"), ("fsync", "/sha256$"),
                     *images), calls  # fmt: skip
    calls = _calls(minidock, "build", "-q", "-", stdin=DOCKERFILE)
    step = (("fsync", "/steps/.*new"), ("rename", "/steps/"), ("fsync", "/steps$"))
    assert _in_order(calls, layer[0], *step, layer[1], *images), calls
    minidock.ok("save", "-o", f"{tmp_path}/mine.tar", "mine")
    minidock.ok("rm", "-f", "box")
    minidock.ok("rmi", "mine")
    calls = _calls(minidock, "load", "-i", f"{tmp_path}/mine.tar")
    assert _in_order(calls, *layer, ("fsync", "/layers$"), *images), calls


def test_a_command_that_is_killed_leaves_no_damage(
    store: Store, minidock: Minidock, busybox: str, tmp_path: Path
) -> None:
    """A copy of the store as it is at that moment, before anybody looks at it, is whole, too."""
    minidock.ok("run", "--name", "box", "-v", "kept:/k", busybox, "sh", "-c", "echo mine > /mine")
    minidock.ok("commit", "box", "mine")
    minidock.ok("save", "-o", f"{tmp_path}/mine.tar", "mine")
    minidock.ok("rmi", "mine")
    chance = random.Random(7)
    commands = (
        ("create", "-v", "other:/o", busybox, "true"), ("commit", "box"), ("build", "-q", "-"),
        ("load", "-q", "-i", f"{tmp_path}/mine.tar"), ("rm", "box"), ("rmi", "mine"),
    )  # fmt: skip
    for number in range(200 if LONG else 6):
        words = commands[number % len(commands)]
        running = minidock.start(*words, start_new_session=True)
        assert running.stdin is not None
        running.stdin.write(DOCKERFILE.encode())
        running.stdin.close()
        time.sleep(chance.random() * patience(0.4))  # at any moment of its way
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
        copy = Store(f"{store.root}-copy")
        _copy(store, copy)
        try:
            for root in (copy.root, store.root):
                _expect_no_damage(Minidock(root), words)
        finally:
            stores.wipe(copy)
        minidock("run", "--name", "box", "-v", "kept:/k", busybox, "sh", "-c", "echo mine > /mine")
        minidock("load", "-q", "-i", f"{tmp_path}/mine.tar")
    shutil.rmtree(f"{store.root}-copy", ignore_errors=True)


def _copy(store: Store, copy: Store) -> None:
    """Copy a store without what is mounted in it; again where something went meanwhile: the monitor
    of a killed command takes its container down."""
    for _ in range(20):
        if subprocess.run(["cp", "-ax", store.root, copy.root], check=False).returncode == 0:
            return
        stores.wipe(copy)
    raise AssertionError(f"{store.root} is never at rest")


def _expect_no_damage(minidock: Minidock, words: tuple[str, ...]) -> None:
    for look in (("ps", "-a"), ("images", "-a"), ("volume", "ls"), ("network", "ls")):
        answer = minidock(*look)
        assert answer.code == 0 and answer.stderr == "", (words, str(answer))
    answer = minidock("system", "check")
    assert not re.search("(?m)^damaged ", answer.stdout), (words, str(answer))
    assert answer.stderr == "", (words, str(answer))
    for image in minidock.ok("images", "-q").split():
        minidock.ok("run", "--rm", "--network", "none", image, "true")
