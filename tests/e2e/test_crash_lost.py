"""What is said, and what can be done, when processes of minidock are gone: the monitor, init, the
command, all of them, or the whole machine.

By the command line, as a user would do it.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from minidock.engine.container import lookup
from minidock.engine.image import archive
from minidock.paths import Store
from support import stores
from support.command import Minidock
from support.patience import await_true, patience

pytestmark = [pytest.mark.root, pytest.mark.slow]


@pytest.fixture
def image(store: Store, busybox_tar: Path) -> Iterator[str]:
    with open(busybox_tar, "rb") as tar:
        archive.import_rootfs(store, tar, "busybox:latest")
    yield "busybox"
    assert stores.leftovers(store) == []


def state_of(minidock: Minidock, name: str) -> tuple[str, int, str]:
    state = json.loads(minidock.ok("inspect", "-f", "{{json .State}}", name))
    return state["Status"], state["ExitCode"], state["Error"]


def pids_of(store: Store, name: str) -> tuple[int, int]:
    """The monitor, and init."""
    container = lookup.find(store, name)
    return container.monitor_pid, container.state["Pid"]


def gone(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return stat.rpartition(")")[2].split()[0] in "ZX"


def run_web(minidock: Minidock, image: str) -> None:
    minidock.ok("run", "-d", "--name", "web", "-p", "80", "-v", "data:/data", image, "sleep", "600")


def test_dead_monitor_means_a_dead_container(minidock: Minidock, store: Store, image: str) -> None:
    run_web(minidock, image)
    monitor, init = pids_of(store, "web")
    os.kill(monitor, signal.SIGKILL)
    await_true(lambda: gone(monitor))
    assert minidock.ok("ps", "-q") == ""
    assert minidock.ok("ps", "-a", "--format", "{{.Names}} {{.Status}}").startswith(
        "web Exited (137)"
    )
    assert state_of(minidock, "web") == ("exited", 137, "monitor lost")
    assert gone(init)
    assert stores.leftovers(store) == []
    minidock.ok("start", "web")
    assert state_of(minidock, "web")[:2] == ("running", 0)
    minidock.ok("rm", "-f", "web")


def test_container_of_a_dead_monitor_is_removed_at_once(
    minidock: Minidock, store: Store, image: str
) -> None:
    run_web(minidock, image)
    monitor, init = pids_of(store, "web")
    os.kill(monitor, signal.SIGKILL)
    minidock.ok("rm", "-f", "web")
    assert gone(init)
    assert minidock.ok("ps", "-aq") == ""


def test_attached_command_of_a_dead_monitor_ends(
    minidock: Minidock, store: Store, image: str
) -> None:
    run = minidock.start("run", "--rm", "--name", "web", image, "sleep", "600")
    await_true(lambda: minidock.ok("ps", "-q"))
    os.kill(pids_of(store, "web")[0], signal.SIGKILL)
    _, said = run.communicate(timeout=patience(10))
    assert run.returncode not in (0, None)
    assert b"the container's monitor has died" in said
    assert minidock.ok("ps", "-aq") == ""


def test_killed_init_is_an_end_with_137(minidock: Minidock, store: Store, image: str) -> None:
    run_web(minidock, image)
    monitor, init = pids_of(store, "web")
    os.kill(init, signal.SIGKILL)
    await_true(lambda: gone(monitor))
    assert state_of(minidock, "web") == ("exited", 137, "")
    minidock.ok("rm", "web")


def test_monitor_and_init_killed_together(minidock: Minidock, store: Store, image: str) -> None:
    run_web(minidock, image)
    for pid in pids_of(store, "web"):
        os.kill(pid, signal.SIGKILL)
    await_true(lambda: not minidock.ok("ps", "-q"))
    assert state_of(minidock, "web")[:2] == ("exited", 137)
    minidock.ok("rm", "web")


@pytest.mark.parametrize("paused", (False, True), ids=("running", "paused"))
def test_monitor_dies_of_a_container_that_forks(
    minidock: Minidock, store: Store, image: str, paused: bool
) -> None:
    busy = "fork() { while :; do sleep 0.01; done; }; for i in 1 2 3 4 5 6; do fork & done; wait"
    minidock.ok("run", "-d", "--name", "web", "--pids-limit", "200", image, "sh", "-c", busy)
    if paused:
        minidock.ok("pause", "web")
    os.kill(pids_of(store, "web")[0], signal.SIGKILL)
    minidock.ok("rm", "-f", "web")


def test_client_that_is_killed_while_it_starts_a_container_leaves_it_whole(
    minidock: Minidock, store: Store, image: str
) -> None:
    for delay_ms in range(0, 240, 20):
        run = minidock.start("run", "-d", "--name", "web", image, "sleep", "600")
        time.sleep(delay_ms / 1000)  # at any moment of its way
        run.kill()
        run.communicate(timeout=patience(10))
        time.sleep(0.3)  # what it had begun goes on, or does not
        status = minidock.ok("ps", "-a", "--format", "{{.Status}}")
        assert status == "" or status.startswith(("Created", "Up"))
        minidock.ok("rm", "-f", "web")
        assert stores.leftovers(store) == []


def test_restart_of_the_machine(minidock: Minidock, store: Store, image: str) -> None:
    run_web(minidock, image)
    minidock.ok("run", "-d", "--name", "other", image, "sleep", "600")
    minidock.ok("run", "-d", "--rm", "--name", "brief", image, "sleep", "600")
    minidock.ok("exec", "web", "sh", "-c", "echo kept > /written")
    stores.reboot(store)
    assert minidock.ok("ps", "-q") == ""
    names = minidock.ok("ps", "-a", "--format", "{{.Names}}").split()
    assert sorted(names) == ["other", "web"]  # one that was run with --rm is not kept
    assert state_of(minidock, "web")[:2] == ("exited", 137)
    leases = json.loads(Path(store.network("bridge")).read_text())["Leases"]
    assert leases == {}
    minidock.ok("start", "web")
    assert minidock.ok("exec", "web", "cat", "/written") == "kept"
    minidock.ok("exec", "web", "ping", "-c", "1", "-W", "5", bridge_address(store))
    minidock.ok("rm", "other")
    minidock.ok("rm", "-f", "web")


def bridge_address(store: Store) -> str:
    gateway: str = json.loads(Path(store.network("bridge")).read_text())["Gateway"]
    return gateway


def test_restart_of_the_machine_in_the_middle_of_a_start(
    minidock: Minidock, store: Store, image: str
) -> None:
    container = minidock.ok("create", "--name", "web", "-p", "80", image, "sleep", "600")
    starting = minidock.start("start", "web")
    await_true(Path(store.container(container).journal).exists)
    stores.reboot(store)
    starting.communicate(timeout=patience(10))
    assert minidock.ok("ps", "-q") == ""
    assert stores.leftovers(store) == []
    minidock.ok("start", "web")
    minidock.ok("rm", "-f", "web")
