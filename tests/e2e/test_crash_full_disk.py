"""A full disk: a clear error, nothing half kept, and room can be made again by rm.

The store is on a small tmpfs. "Full" is not one state: each case leaves another number of blocks
free, so that the disk fills up at every step of what is tried.
"""

from __future__ import annotations

import errno
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from minidock.engine.image import archive
from minidock.paths import Store
from support import stores
from support.command import Minidock, Result
from support.patience import await_true, patience

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(300)]

BLOCK = 4096


class Disk:
    """A small tmpfs with a store on it."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=16m,nr_inodes=4000", "small", directory],
            check=True,
        )
        self.store = Store(f"{directory}/store")
        self.ballast = Path(f"{directory}/ballast")
        self.minidock = Minidock(self.store.root)

    def fill(self, *, free_blocks: int = 0) -> None:
        """Leave that many blocks of 4 KiB free."""
        self.ballast.unlink(missing_ok=True)
        fd = os.open(self.ballast, os.O_WRONLY | os.O_CREAT)
        try:
            while True:
                wanted = (os.statvfs(self.directory).f_bfree - free_blocks) * BLOCK
                try:
                    return os.posix_fallocate(fd, 0, wanted)
                except OSError as error:  # a container took a block in between
                    assert error.errno == errno.ENOSPC
        finally:
            os.close(fd)

    def take_inodes(self, *, free: int = 0) -> None:
        """Leave that many inodes free."""
        folder = Path(f"{self.directory}/many")
        folder.mkdir(exist_ok=True)
        try:
            for number in range(os.statvfs(self.directory).f_ffree - free):
                (folder / f"{number}").touch()
        except OSError as error:
            assert error.errno == errno.ENOSPC

    def make_room(self) -> None:
        self.ballast.unlink(missing_ok=True)
        subprocess.run(["rm", "-rf", f"{self.directory}/many"], check=True)

    def close(self) -> None:
        stores.wipe(self.store)
        subprocess.run(["umount", self.directory], check=True)


@pytest.fixture
def disk(busybox_tar: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    directory = tempfile.mkdtemp(prefix="full", dir=os.environ["MINIDOCK_TEST_SESSION"])
    made = Disk(directory)
    with open(Path(os.environ["MINIDOCK_TEST_SESSION"]) / "marks", "a") as marks:
        marks.write("\n".join([*stores.marks(made.store), ""]))
    monkeypatch.setenv("MINIDOCK_ROOT", made.store.root)
    with open(busybox_tar, "rb") as tar:
        archive.import_rootfs(made.store, tar, "busybox:latest")
    made.minidock.ok("run", "--rm", "busybox", "true")  # the network is made
    yield made
    made.make_room()
    made.close()


def complains(result: Result) -> bool:
    """Whether it ended with one clear sentence about the disk."""
    first = result.stderr.splitlines()[0] if result.stderr else ""
    return (
        result.code in (1, 125)
        and first.startswith("minidock: ")
        and "No space left on device" in result.stderr
        and "Traceback" not in result.stderr
    )


def in_order(disk: Disk) -> None:
    """Nothing runs, nothing is left, all while the disk is as full as it is."""
    listed = disk.minidock.ok("ps", "-aq").split()
    for container in listed:
        disk.minidock.ok("rm", "-f", container)
    assert disk.minidock.ok("ps", "-aq") == ""
    assert stores.leftovers(disk.store) == []
    assert [n for n in os.listdir(disk.store.containers) if not n.startswith(".")] == []
    assert os.listdir(disk.store.staging) == []


def numbers_of(disk: Disk) -> list[int]:
    """The numbers of the lines that container "web" has logged."""
    return [int(line.split()[1]) for line in disk.minidock.ok("logs", "web").splitlines()]


RUN = ("run", "-d", "-v", "data:/data", "busybox", "sleep", "60")


def test_run_on_a_full_disk(disk: Disk) -> None:
    answers = set()
    for blocks in range(24):
        disk.fill(free_blocks=blocks)
        done = disk.minidock(*RUN)
        assert done.code == 0 or complains(done), (blocks, done)
        in_order(disk)
        answers.add(done.code)
    assert answers == {0, 125}


def test_run_on_a_disk_without_inodes(disk: Disk) -> None:
    answers = set()
    for inodes in range(0, 40, 2):
        disk.take_inodes(free=inodes)
        done = disk.minidock(*RUN)
        assert done.code == 0 or complains(done), (inodes, done)
        in_order(disk)
        answers.add(done.code)
        disk.make_room()
    assert answers == {0, 125}


@pytest.mark.parametrize("verb", ("stop", "kill", "rm", "pause", "rename"))
def test_running_container_obeys_on_a_full_disk(disk: Disk, verb: str) -> None:
    command = ("--stop-signal", "KILL", "busybox", "sleep", "60")
    disk.minidock.ok("run", "-d", "--name", "web", "-p", "80", *command)
    disk.fill()
    if verb == "rm":
        disk.minidock.ok("rm", "-f", "web")
    elif verb in ("stop", "kill"):
        disk.minidock.ok(verb, "web")
        assert disk.minidock.ok("ps", "-a", "--format", "{{.State}}") == "exited"
    else:
        done = disk.minidock(verb, "web", *(["www"] if verb == "rename" else []))
        assert done.code == 0 or complains(done), done
    in_order(disk)


def test_monitor_that_dies_on_a_full_disk_is_cleared_away(disk: Disk) -> None:
    disk.minidock.ok("run", "-d", "--name", "web", "-p", "80", "busybox", "sleep", "60")
    disk.fill()
    from minidock.engine.container.lookup import find

    container = find(disk.store, "web")
    os.kill(container.monitor_pid, 9)
    await_true(lambda: container.monitor_pid == 0)
    shown = disk.minidock.ok("ps", "-a", "--format", "{{.Names}} {{.Status}}")
    assert shown.startswith("web Exited (137)")
    in_order(disk)


def test_container_that_logs_on_a_full_disk_lives_on(disk: Disk) -> None:
    """Its words are lost while there is no room, and kept again when there is."""
    words = "i=0; while sleep 0.01; do i=$((i+1)); echo line $i; echo $i > /dev/shm/said; done"
    disk.minidock.ok("run", "-d", "--name", "web", "busybox", "sh", "-c", words)
    pid = disk.minidock.ok("inspect", "-f", "{{.State.Pid}}", "web")
    said = Path(f"/proc/{pid}/root/dev/shm/said")
    await_true(lambda: "line 1\n" in disk.minidock.ok("logs", "web"))
    disk.fill()
    before = said.read_text()
    await_true(lambda: int(said.read_text() or 0) > int(before or 0) + 20)
    assert disk.minidock.ok("ps", "--format", "{{.Names}}") == "web"
    disk.make_room()
    last = numbers_of(disk)[-1]
    await_true(lambda: numbers_of(disk)[-1] > last)
    numbers = numbers_of(disk)
    assert numbers == sorted(set(numbers)) and numbers[0] == 1
    assert disk.minidock.ok("logs", "--tail", "1", "web").startswith("line ")
    disk.fill()
    disk.minidock.ok("rm", "-f", "web")
    in_order(disk)


def test_command_that_reads_a_log_is_not_disturbed_by_a_full_disk(disk: Disk) -> None:
    words = "echo up; read go; seq 1 2000"
    run = disk.minidock.start("run", "-i", "--rm", "busybox", "sh", "-c", words)
    assert run.stdout is not None and run.stdout.readline() == b"up\n"
    disk.fill()
    said, _ = run.communicate(b"go\n", timeout=patience(30))
    assert run.returncode == 0
    assert said.split() == [b"%d" % n for n in range(1, 2001)]
    in_order(disk)


def test_load_on_a_full_disk(disk: Disk, tmp_path: Path) -> None:
    saved = tmp_path / "saved.tar"
    disk.minidock.ok("save", "-o", str(saved), "busybox:latest")
    disk.minidock.ok("rmi", "busybox:latest")
    empty = os.listdir(disk.store.layers)
    for blocks in (0, 1, 2, 4, 8, 32, 128, 400):
        disk.fill(free_blocks=blocks)
        done = disk.minidock("load", "-i", str(saved))
        assert complains(done), (blocks, done)
        assert disk.minidock.ok("images", "-q") == ""
        assert os.listdir(disk.store.layers) == empty
        assert os.listdir(disk.store.staging) == []
    disk.make_room()
    disk.minidock.ok("load", "-i", str(saved))
    disk.minidock.ok("run", "--rm", "busybox", "true")


def test_commit_on_a_full_disk(disk: Disk) -> None:
    fat = "dd if=/dev/urandom of=/fat bs=1k count=600 2>/dev/null"
    disk.minidock.ok("run", "--name", "web", "busybox", "sh", "-c", fat)
    before = disk.minidock.ok("images", "-q")
    for blocks in (0, 1, 2, 4, 16, 64):
        disk.fill(free_blocks=blocks)
        done = disk.minidock("commit", "web", "fat:1")
        assert complains(done), (blocks, done)
        assert disk.minidock.ok("images", "-q") == before
        assert os.listdir(disk.store.staging) == []
    in_order(disk)


def test_image_is_removed_on_a_full_disk(disk: Disk) -> None:
    disk.fill()
    disk.minidock.ok("rmi", "busybox:latest")
    assert disk.minidock.ok("images", "-q") == ""
