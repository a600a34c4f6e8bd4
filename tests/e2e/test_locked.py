"""Who holds a lock may be stopped: a command that waits for it says so after a while, by name."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from minidock.engine.container import lookup
from minidock.engine.network.bridge import MACHINE_LOCK
from minidock.errors import LockTimeout
from minidock.kernel import flock
from minidock.paths import Store
from support.attack import without
from support.command import Minidock
from support.lock_holder import stopped_holder
from support.patience import long, patience

pytestmark = [pytest.mark.root, pytest.mark.slow]

SOON = "from minidock.kernel import flock; flock._limits[0] = 1.0"
LOCKS: dict[str, tuple[Callable[[Store], str], tuple[str, ...]]] = {
    "store": (lambda store: store.lock, ("create", "busybox")),
    "containers": (lambda store: f"{store.containers}/.lock", ("rm", "box")),
    "container": (
        lambda store: lookup.find(store, "box").paths.lock,
        ("rename", "box", "other"),
    ),
    "removal": (lambda store: lookup.find(store, "box").paths.home, ("rm", "box")),
    "networks": (lambda store: store.networks, ("network", "ls")),
    "launch": (lambda store: store.networks, ("start", "box")),
    "machine": (lambda store: MACHINE_LOCK, ("network", "create", "lan")),
    "volumes": (lambda store: f"{store.volumes}/.lock", ("volume", "create")),
}


@pytest.mark.parametrize("name", long(["container", "networks", "launch"], list(LOCKS)))
def test_a_command_names_the_stopped_process_that_holds_its_lock(
    store: Store, minidock: Minidock, busybox_image: str, name: str
) -> None:
    minidock.ok("network", "create", "first")
    minidock.ok("volume", "create", "data")
    minidock.ok("create", "--name", "box", "--network", "first", busybox_image, "true")
    path_of, command = LOCKS[name]
    path = path_of(store)
    begun = time.monotonic()
    with stopped_holder(path) as pid:
        refused = without(minidock, SOON, *command)
        assert refused.code != 0
        assert f"minidock: {path} is locked by process {pid} (" in refused.stderr, str(refused)
        assert "which is stopped\n" in refused.stderr
        assert f"kill -CONT {pid}" in refused.stderr
        assert time.monotonic() - begun < patience(10)
    assert minidock(*command).code == 0


def test_a_lock_that_many_have_in_turn_is_waited_for(
    tmp_path: Path,
) -> None:
    """The limit is for one holder, not for a queue."""
    path = tmp_path / "lock"
    path.touch()
    queue = [subprocess.Popen(["flock", str(path), "sleep", "1"]) for _ in range(5)]
    fd = os.open(path, os.O_RDONLY)
    inode = f":{path.stat().st_ino} "
    while Path("/proc/locks").read_text().count(inode) < 4:  # one has it, others wait
        time.sleep(0.01)
    begun = time.monotonic()
    with flock.limits(stopped=1.5, busy=1.5):
        flock.lock(fd, str(path))
    assert time.monotonic() - begun > 1.5
    os.close(fd)
    assert [holder.wait() for holder in queue] == [0] * 5


def test_a_process_that_does_not_let_go_is_named(
    tmp_path: Path,
) -> None:
    path = tmp_path / "lock"
    path.touch()
    fd, held = os.open(path, os.O_RDONLY), os.open(path, os.O_RDONLY)
    assert flock.try_lock(held)
    named = pytest.raises(LockTimeout, match=f"process {os.getpid()} .*which does not release it")
    with named, flock.limits(stopped=0.5, busy=0.5):
        flock.lock(fd, str(path))
    os.close(held)
    flock.lock(fd, str(path))
    os.close(fd)
