"""A power cut: what a command said it has made is there afterwards, and nothing is damaged.

The store is on an ext4 of its own, in a file behind a loop device. What has not been written out is
in that file system's page cache, and not in the file: so a copy of the file is the disk as a power
cut leaves it. It is taken as soon as a command has ended; and in the middle of one, while all its
processes are stopped (the journal is not committed by itself: commit=300). The copy is mounted in
the store's place, in a mount namespace of its own and with an empty /run; its journal is replayed
by the mount.

Source: ext4(5), "commit=", "data=ordered".
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from minidock.engine.image import archive
from minidock.paths import Store
from support import machine, stores
from support.command import Minidock, command_line, environment
from support.patience import patience

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(300)]

LONG = bool(os.environ.get("MINIDOCK_LONG"))
DOCKERFILE = "FROM busybox\nRUN dd if=/dev/urandom of=/file bs=64k count=40\nRUN echo x > /other\n"
LOOKS = ("ps -a", "images -a", "volume ls", "network ls", "system check")


class Disk:
    """A store on a disk whose power can be cut. path: where it is mounted."""

    def __init__(self, folder: Path) -> None:
        self.file, self.path = folder / "disk", folder / "store"
        self.path.mkdir()
        subprocess.run(["truncate", "-s", "300M", self.file], check=True)
        subprocess.run(["mkfs.ext4", "-q", "-F", self.file], check=True)
        subprocess.run(["mount", "-o", "loop,commit=300", self.file, self.path], check=True)
        self.store = Store(str(self.path / "minidock"))
        self.minidock = Minidock(self.store.root)

    def settle(self) -> None:
        """What has happened so far is on the disk."""
        subprocess.run(["sync", "-f", self.path], check=True)

    def after_power_cut(self, script: str) -> subprocess.CompletedProcess[str]:
        """What a shell says on the machine that comes up with the disk as it is now."""
        copy = self.file.with_suffix(".copy")
        subprocess.run(["cp", "--sparse=always", self.file, copy], check=True)
        lines = f"""
            mount -o loop {copy} {self.path}
            mkdir -p {self.store.run}
            mount -t tmpfs none /run
            {script}
        """
        return subprocess.run(
            ["unshare", "--mount", "sh", "-c", lines], env=environment(self.store.root),
            capture_output=True, text=True, check=False, timeout=patience(60),
        )  # fmt: skip

    def expect_whole(self, said: str) -> str:
        """After a power cut nothing is damaged, and each image is what its digests say.

        Returns the names and ids of containers, images, volumes and networks.
        """
        ours = " ".join(command_line())
        script = f"""
            for look in {" ".join(f'"{look}"' for look in LOOKS)}; do {ours} $look >&2; done
            for image in $({ours} images -aq --no-trunc); do {ours} save $image >/dev/null; done
            {ours} ps -a --format '{{{{.Names}}}}'
            {ours} images -a --no-trunc --format '{{{{.Repository}}}} {{{{.ID}}}}'
            {ours} volume ls -q
            {ours} network ls --format '{{{{.Name}}}}'
        """
        answer = self.after_power_cut(script)
        complaints = [
            line
            for line in answer.stderr.splitlines()
            if line.startswith(("minidock:", "damaged", "Traceback"))
        ]
        assert answer.returncode == 0 and complaints == [], f"{said}: {complaints}\n{answer.stderr}"
        return answer.stdout


@pytest.fixture
def disk(tmp_path: Path, busybox_tar: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    made = Disk(tmp_path)
    try:
        with open(busybox_tar, "rb") as tar:
            archive.import_rootfs(made.store, tar, "busybox:latest")
        yield made
    finally:
        stores.wipe(made.store)
        machine.unmount_below(str(made.path))
        subprocess.run(["umount", made.path], check=False)


def test_what_a_command_said_it_made_is_there_after_a_power_cut(disk: Disk, tmp_path: Path) -> None:
    minidock = disk.minidock
    commands = (
        ("volume create kept", "kept"), ("network create net", "net"),
        ("run --name box -v kept:/k busybox sh -c 'echo mine > /mine'", "box"),
        ("commit box mine", "mine "), ("build -q -t built -", "built "),
        (f"save -o {tmp_path}/mine.tar mine", ""), ("rm box", "-box"), ("rmi mine", "-mine "),
        (f"load -i {tmp_path}/mine.tar", "mine "),
    )  # fmt: skip
    for words, wanted in commands:
        disk.settle()
        ours = " ".join(command_line())
        subprocess.run(
            ["sh", "-c", f"{ours} {words}"], input=DOCKERFILE, text=True, check=True,
            capture_output=True, env=environment(disk.store.root), timeout=patience(60),
        )  # fmt: skip
        found = disk.expect_whole(words)
        if not wanted.startswith("-"):  # what was removed may be back, whole
            assert wanted in found, f"{words}: {found}"
    assert minidock.ok("volume", "ls", "-q") == "kept"


def test_a_power_cut_in_the_middle_of_a_command_damages_nothing(disk: Disk, tmp_path: Path) -> None:
    minidock, chance = disk.minidock, random.Random(11)
    make = ("run", "--name", "box", "busybox", "sh", "-c", "echo mine > /mine")
    minidock.ok(*make)
    minidock.ok("commit", "box", "mine")
    minidock.ok("save", "-o", f"{tmp_path}/mine.tar", "mine")
    commands = (
        "run -d busybox sleep 60", "commit box", "build -q -", "rmi mine",
        f"load -i {tmp_path}/mine.tar", "rm -f box", "run --rm busybox true",
    )  # fmt: skip
    for number in range(100 if LONG else len(commands)):
        words = commands[number % len(commands)]
        disk.settle()
        running = minidock.start(*words.split())
        assert running.stdin is not None
        running.stdin.write(DOCKERFILE.encode())
        running.stdin.close()
        time.sleep(chance.random() * patience(0.4))  # at any moment of its way
        stopped = _stop_all(disk.store)
        try:
            disk.expect_whole(words)
        finally:
            for pid in stopped:
                _signal(pid, signal.SIGCONT)
        running.wait(patience(60))
        if ids := minidock.ok("ps", "-aq", "--filter", "status=running").split():
            minidock.ok("rm", "-f", *ids)
        minidock(*make)


def _stop_all(store: Store) -> set[int]:
    """Stop all processes of a store; returns them."""
    stopped: set[int] = set()
    while new := {int(p.split()[0]) for p in machine.processes() if store.root in p} - stopped:
        for pid in new:
            _signal(pid, signal.SIGSTOP)
        stopped |= new
    return stopped


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
