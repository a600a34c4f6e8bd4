"""Twins: what `explain` prints behind its prompts, pasted into a root shell, makes the container.

A container runs, is looked at, and is stopped. Then its story is pasted, command by command, into
bash at a terminal; the container that comes up by that must look the same to the kernel.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from minidock.paths import Store
from support import stores
from support.command import Minidock
from support.fingerprint import fingerprint, own_names
from support.patience import await_true, patience

pytestmark = pytest.mark.root

COMMAND = ["sleep", "1000"]


def pasted(text: str) -> list[str]:
    """The commands of a story, each with the lines on which it goes on."""
    found: list[str] = []
    for line in text.splitlines():
        if match := re.match(r"(?: {4}| {9})\$ (.*)", line):
            found.append(match[1])
        elif found and found[-1].endswith("\\") and line.startswith(" " * 11):
            found[-1] += "\n" + line[11:]
    return found


class Shell:
    """bash, as root, at a terminal."""

    def __init__(self) -> None:
        self._child = pexpect.spawn(
            "bash", ["--norc"], encoding="utf-8", timeout=patience(30), dimensions=(50, 400)
        )
        self._count = 0
        self._said: list[str] = []

    def paste(self, command: str) -> str:
        """Type a command, wait until it is done; returns what was said."""
        self._count += 1
        self._child.sendline(command)
        self._child.sendline(f"echo do''ne-$?-{self._count}.")
        self._child.expect(rf"done-(\d+)-{self._count}\.")
        assert self._child.match
        said = f"{self._child.before}"
        assert self._child.match[1] == "0", f"{command}\n{said}"
        return said

    def send(self, command: str) -> None:
        """Type a command that does not come back."""
        self._child.sendline(command)

    def close(self) -> None:
        await_true(self._is_closed, "bash does not end")

    def _is_closed(self) -> bool:
        try:
            self._child.close(force=True)
        except pexpect.ExceptionPexpect:  # it got SIGKILL a tenth of a second ago, and is ending
            return False
        return True


@pytest.fixture
def shell() -> Iterator[Shell]:
    made = Shell()
    yield made
    made.close()


def _process_in(container_id: str) -> int:
    """The command's process, once there is one in the container's cgroup."""
    deadline = time.monotonic() + patience(20)
    while time.monotonic() < deadline:
        for file in Path("/sys/fs/cgroup").glob(f"**/{container_id}/cgroup.procs"):
            for pid in file.read_text().split():
                if Path(f"/proc/{pid}/comm").read_text().strip() == COMMAND[0]:
                    return int(pid)
        time.sleep(0.05)
    raise AssertionError("no process of that name is in the container's cgroup")


def test_what_explain_prints_makes_the_container_when_it_is_pasted(
    store: Store, minidock: Minidock, busybox_image: str, shell: Shell
) -> None:
    flags = ("--network", "none", "--hostname", "box", "--name", "box")
    container = minidock.ok("run", "-d", *flags, busybox_image, *COMMAND)
    minidock.ok("kill", "box")
    minidock.ok("wait", "box")
    minidock.ok("start", "box")  # overlayfs gives an upperdir its uuid at the first mount only
    paths = store.container(container)
    names = own_names(container, paths.home)
    text = minidock.ok("explain", "--all", "box")
    native = fingerprint(store, _process_in(container), names)
    minidock.ok("kill", "box")
    minidock.ok("wait", "box")
    commands = pasted(text)
    assert not [command for command in commands if "…" in command]
    assert commands[-1].startswith("exec env -i")
    assert len(commands) > 60
    mounts = _mounts(store)
    pid = 0
    try:
        for command in commands[:-1]:
            shell.paste(command)
        shell.send(commands[-1])
        pid = _process_in(container)
        made = fingerprint(store, pid, names)
    finally:
        if pid:
            subprocess.run(["kill", "-9", str(pid)], check=True)
        shell.close()
        _unmake(store, container)
    assert [name for name in native if made[name] != native[name]] == []
    assert len(made["mounts"]) > 20 and made["environment"]
    assert _mounts(store) == mounts


def _mounts(store: Store) -> list[str]:
    """The host's mounts that are of this store; those of tests at its side come and go."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line for line in lines if any(mark in line for mark in stores.marks(store))]


def _unmake(store: Store, container: str) -> None:
    """Take away what was pasted: `rm -f` would not look for it, as its container is stopped."""
    from minidock.engine.container.teardown import tear_down

    deadline = time.monotonic() + patience(20)
    while any(f.read_text() for f in Path("/sys/fs/cgroup").glob(f"**/{container}/cgroup.procs")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    tear_down(store, container)
