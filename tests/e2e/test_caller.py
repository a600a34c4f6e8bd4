"""What a command has of its caller stays with the command: the container, and its monitor that
outlives the command, get nothing of it. With docker they are children of a daemon."""

from __future__ import annotations

import os
import select
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.command import Minidock
from support.patience import patience

pytestmark = pytest.mark.root


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, to work in."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "caller", str(place)], check=True)
    yield place
    if place.is_mount():
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def run(minidock: Minidock, *arguments: str, **popen: object) -> None:
    """`minidock run ARGUMENTS`, with whatever else a caller may choose."""
    running = minidock.start("run", *arguments, **popen)
    _, said = running.communicate(timeout=patience(60))
    assert running.returncode == 0, said


def test_a_pipe_ends_with_the_command_that_had_it(minidock: Minidock, busybox_image: str) -> None:
    """`run -d` with a lock, or one end of a pipe, in a descriptor: neither lives on."""
    reading, writing = os.pipe()
    run(minidock, "-d", "--name", "box", busybox_image, "sleep", "1000", pass_fds=[writing])
    os.close(writing)
    assert select.select([reading], [], [], patience(5))[0], "somebody holds the pipe"
    assert os.read(reading, 1) == b""
    os.close(reading)


@pytest.mark.parametrize("root", ["as it is", "relative"])
def test_a_disk_on_which_it_was_typed_can_be_unmounted(
    minidock: Minidock, busybox_image: str, disk: Path, root: str
) -> None:
    env = {**os.environ, "MINIDOCK_ROOT": minidock.root}
    env["PYTHONPATH"] = str(Path(__file__).resolve().parents[2] / "src")
    if root == "relative":
        env["MINIDOCK_ROOT"] = os.path.relpath(minidock.root, disk)
        env["PYTHONPATH"] = os.path.relpath(env["PYTHONPATH"], disk)
    run(minidock, "-d", "--name", "box", busybox_image, "sleep", "1000", cwd=disk, env=env)
    subprocess.run(["umount", str(disk)], check=True)
    assert minidock.ok("exec", "box", "echo", "lives") == "lives"
    assert minidock.ok("stop", "-t", "0", "box") == "box"


def test_everybody_may_read_what_a_careful_root_has_made(
    minidock: Minidock, busybox_image: str, tmp_path: Path
) -> None:
    """With umask 077, too, "/" of a container is open to its users, and so is a new volume."""
    places = ["/", "/etc/hosts", "/work/dir", "/host", "/volume"]
    options = ["-v", f"{tmp_path}/new/dir:/host", "-v", "data:/volume", "-w", "/work/dir"]
    image = [busybox_image, "stat", "-c", "%a", *places]
    answers = []
    for umask in (0o022, 0o077):
        running = minidock.start("run", "--rm", *options, *image, umask=umask)
        answers.append(running.communicate(timeout=patience(60))[0].decode().split())
        minidock.ok("volume", "rm", "data")
        (tmp_path / "new/dir").rmdir()
    assert answers == [["755", "644", "755", "755", "755"]] * 2
    run(minidock, "--rm", "-u", "1000", busybox_image, "cat", "/etc/hosts", umask=0o077)
