"""A snapshot of a place whose processes come and go while it is taken."""

from __future__ import annotations

import os
import subprocess

import pytest

from minidock.teach.lab import snapshot
from minidock.teach.lab.sandbox_process import Process


class Passing(Process):
    """A process that ends, and is waited for, just before a file of /proc/PID is read."""

    def __init__(self, before: str) -> None:
        self.child = subprocess.Popen(["sleep", "1000"])
        super().__init__(self.child.pid)
        self.before = before

    def read(self, path: str) -> str:
        if path == self.before:
            self.child.kill()
            self.child.wait()
        return super().read(path)


def taken(*processes: Process) -> dict[int, str]:
    init = Process(os.getpid())
    found = snapshot.take_snapshot(init, iptables="", cgroups=[], processes=[init, *processes])
    return found.processes


@pytest.mark.parametrize("before", ["status", "cmdline"])
def test_a_process_that_ends_meanwhile_is_not_there(before: str) -> None:
    assert list(taken(Passing(before))) == [os.getpid()]


def test_a_zombie_is_there() -> None:
    zombie = subprocess.Popen(["true"])
    os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
    try:
        assert taken(Process(zombie.pid))[zombie.pid].startswith("a zombie")
    finally:
        zombie.wait()
