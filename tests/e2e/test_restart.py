"""Restart policies on this kernel: who comes back, what is held between two runs, and what ends it.

What is the same as with a real docker is in tests/parity/restart.sh.
"""

from __future__ import annotations

import json
import math
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from minidock.engine.container import containers
from minidock.engine.container.containers import mark_ended, save_running, set_running
from minidock.engine.container.lookup import find
from minidock.paths import Store
from support import stores
from support.command import Minidock
from support.patience import await_true, measure, patience
from support.ports import free_port

pytestmark = [pytest.mark.root, pytest.mark.slow]

FAILING = ("sh", "-c", "echo once; exit 3")
# The first run fails, the second stays.
ONCE = ("sh", "-c", "[ -e /ran ] && exec sleep 600; touch /ran; exit 3")


@pytest.fixture
def image(store: Store, busybox_tar: Path) -> Iterator[str]:
    yield from stores.busybox_and_no_leftovers(store, busybox_tar)


def document(store: Store, name: str) -> dict[str, Any]:
    """What is written down of a container, unrepaired."""
    home = f"{store.containers}/{_id_of(store, name)}"
    found: dict[str, Any] = json.loads(Path(home, "container.json").read_text())
    return found


def _id_of(store: Store, name: str) -> str:
    """The id that has this name; "-" while none has."""
    link = f"{store.names}/{name}"
    return os.readlink(link) if os.path.islink(link) else "-"


def status(store: Store, name: str) -> str:
    return str(document(store, name)["State"]["Status"])


def await_status(store: Store, name: str, wanted: str) -> None:
    await_true(lambda: status(store, name) == wanted, seconds=20)


def await_restarts(store: Store, name: str, least: int) -> None:
    await_true(lambda: document(store, name)["RestartCount"] >= least, seconds=20)


def await_long_pause(store: Store, name: str, restarts: int = 6) -> None:
    """Until it waits for its next run, for 3.2 s.

    restarts: one more for twice as long; so it is where the machine is twice as slow.
    """
    await_restarts(store, name, restarts + min(2, int(math.log2(measure()))))
    await_status(store, name, "restarting")


def monitor_of(store: Store, name: str) -> int:
    return containers.Container(store, document(store, name)).monitor_pid


def test_the_writes_of_all_runs_stay(minidock: Minidock, store: Store, image: str) -> None:
    script = "echo x >> /f; wc -l < /f; exit 1"
    minidock.ok("run", "-d", "--name", "web", "--restart", "on-failure:3", image, "sh", "-c",
                script)  # fmt: skip
    await_status(store, "web", "exited")
    assert minidock.ok("logs", "web").split() == ["1", "2", "3", "4"]
    found = document(store, "web")
    assert (found["RestartCount"], found["State"]["ExitCode"]) == (3, 1)


def test_nothing_is_held_between_two_runs(minidock: Minidock, store: Store, image: str) -> None:
    port = free_port()
    minidock.ok("run", "-d", "--name", "web", "-p", f"127.0.0.1:{port}:80", "--restart", "always",
                image, *FAILING)  # fmt: skip
    await_long_pause(store, "web", 7)
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))  # nobody has it
    assert json.loads(Path(store.network("bridge")).read_text())["Leases"] == {}
    assert stores.held(store) == []
    found = document(store, "web")
    assert found["NetworkSettings"]["Ports"] == {}
    assert found["NetworkSettings"]["Networks"]["bridge"]["IPAddress"] == ""
    listed = minidock.ok("ps", "--format", "{{.Status}}|{{.State}}|{{.Ports}}")
    assert listed.startswith("Restarting (3) ") and listed.endswith(" ago|restarting|")
    assert minidock.ok("ps", "-q", "--filter", "status=restarting") != ""


def test_a_port_that_is_taken_meanwhile_ends_it(
    minidock: Minidock, store: Store, image: str
) -> None:
    port = free_port()
    minidock.ok("run", "-d", "--name", "web", "-p", f"127.0.0.1:{port}:80", "--restart", "always",
                image, *FAILING)  # fmt: skip
    await_long_pause(store, "web")
    with socket.create_server(("127.0.0.1", port)):
        await_status(store, "web", "exited")
    state = document(store, "web")["State"]
    assert state["ExitCode"] == 3  # of its last run
    assert str(port) in state["Error"]
    # The monitor writes down the end before its own.
    await_true(lambda: monitor_of(store, "web") == 0, seconds=20)


def test_a_container_that_is_restarted_publishes_its_port_again(
    minidock: Minidock, store: Store, image: str
) -> None:
    script = f"[ -e /ran ] && exec httpd -f -h /etc; {ONCE[2]}"
    minidock.ok("run", "-d", "--name", "web", "-p", "80", "--restart", "always", image, "sh", "-c",
                script)  # fmt: skip
    await_restarts(store, "web", 1)
    await_status(store, "web", "running")
    port = int(minidock.ok("port", "web", "80").splitlines()[0].rpartition(":")[2])
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with socket.socket(family) as client:
            client.settimeout(patience(10))
            await_true(lambda c=client, a=address: c.connect_ex((a, port)) == 0, seconds=20)  # type: ignore[misc]
            client.sendall(b"GET /hostname HTTP/1.0\r\n\r\n")
            assert b"200 OK" in client.recv(1000)
    assert (
        minidock.ok("exec", "web", "cat", "/etc/hostname")[:12] == document(store, "web")["Id"][:12]
    )


def test_exec_waits_for_a_monitor_that_does_not_listen_yet(
    minidock: Minidock, store: Store, image: str
) -> None:
    """Between two runs it writes down that the container runs, and listens a moment later."""
    container = minidock.ok("run", "-d", "--name", "web", image, "sleep", "600")
    listening = Path(store.container(container).monitor_socket)
    away = listening.rename(listening.with_suffix(".away"))
    executing = minidock.start("exec", "web", "echo", "here")
    time.sleep(patience(0.5))  # for it to come to where it finds that out
    away.rename(listening)
    assert executing.communicate(timeout=patience(20)) == (b"here\n", b"")
    assert executing.returncode == 0


def test_many_runs_leave_nothing_in_the_monitor(
    minidock: Minidock, store: Store, image: str
) -> None:
    """Descriptors and memory of a monitor that restarts its container do not grow."""
    minidock.ok("run", "-d", "--name", "web", "-p", "80", "--restart", "always", image, *FAILING)
    held = []
    for restarts in (2, 6):
        await_restarts(store, "web", restarts)
        held.append(held_in_a_pause(monitor_of(store, "web")))
    assert held[0] == held[1]
    size = int(Path(f"/proc/{monitor_of(store, 'web')}/statm").read_text().split()[1]) * 4096
    assert size < 20_000_000


def held_in_a_pause(monitor: int) -> list[str]:
    """The kinds of the descriptors that a process holds, once it holds a timer and no lock."""
    deadline = time.monotonic() + patience(10)
    while time.monotonic() < deadline:
        try:
            directory = f"/proc/{monitor}/fd"
            held = [os.readlink(f"{directory}/{fd}") for fd in os.listdir(directory)]
        except FileNotFoundError:
            continue  # one was closed meanwhile
        is_noting = any(name.endswith("/lock") for name in held)
        if "anon_inode:[timerfd]" in held and not is_noting:
            return sorted(name.partition(":[")[0] for name in held)
    raise AssertionError("there was no pause")


@pytest.mark.parametrize("how", (("stop",), ("kill",), ("kill", "-s", "USR1"), ("rm", "-f")))
def test_it_is_ended_between_two_runs(
    minidock: Minidock, store: Store, image: str, how: tuple[str, ...]
) -> None:
    minidock.ok("run", "-d", "--name", "web", "--restart", "always", image, *FAILING)
    await_long_pause(store, "web")
    began = time.monotonic()
    minidock.ok(*how, "web")
    assert time.monotonic() - began < patience(1.5)  # the pause is cut short
    if how[0] == "rm":
        return
    found = document(store, "web")
    assert (found["State"]["Status"], found["State"]["ExitCode"]) == ("exited", 3)
    time.sleep(0.3)  # in which another run would be counted
    assert document(store, "web")["RestartCount"] == found["RestartCount"]


@pytest.mark.parametrize("delay_ms", range(0, 400, 50))
def test_it_is_stopped_at_any_moment(
    minidock: Minidock, store: Store, image: str, delay_ms: int
) -> None:
    """Also while it is being restarted: then it is stopped as soon as it runs."""
    minidock.ok("run", "-d", "--name", "web", "--restart", "always", "--stop-signal", "KILL",
                image, *ONCE)  # fmt: skip
    time.sleep(delay_ms / 1000)  # at any moment of its way
    minidock.ok("stop", "web")
    assert status(store, "web") == "exited"
    assert monitor_of(store, "web") == 0


def test_start_after_a_stop_resets_the_count(minidock: Minidock, store: Store, image: str) -> None:
    minidock.ok("run", "-d", "--name", "web", "--restart", "unless-stopped", image, *FAILING)
    await_restarts(store, "web", 5)
    minidock.ok("stop", "web")
    assert document(store, "web")["RestartCount"] >= 5
    minidock.ok("start", "web")
    assert document(store, "web")["RestartCount"] < 5  # it would be 5 again after 1.5 s of pauses
    await_restarts(store, "web", 2)  # nobody remembers the stop


@pytest.mark.parametrize(
    ("verb", "said"),
    {
        "pause": "is restarting, wait until the container is running",
        "top": "is restarting, wait until the container is running",
        "attach": "You cannot attach to a restarting container, wait until it is running",
        "rm": 'cannot remove container "/web": container is restarting',
        "unpause": "is restarting, wait until the container is running",
    }.items(),
)
def test_what_cannot_be_done_between_two_runs(
    minidock: Minidock, store: Store, image: str, verb: str, said: str
) -> None:
    minidock.ok("run", "-d", "--name", "web", "--restart", "always", image, *FAILING)
    await_long_pause(store, "web")
    done = minidock(verb, "web")
    assert (done.code, done.stdout) == (1, ""), done
    assert said in done.stderr


def test_what_can_be_done_between_two_runs(minidock: Minidock, store: Store, image: str) -> None:
    minidock.ok("run", "-d", "--name", "web", "--restart", "always", image, *FAILING)
    await_long_pause(store, "web")
    assert minidock.ok("start", "web") == "web"
    minidock.ok("rename", "web", "other")
    assert minidock.ok("wait", "other") == "3"  # of its next run
    minidock.ok("commit", "other", "kept")
    assert minidock.ok("ps", "--format", "{{.Names}}") == "other"
    done = minidock("run", "--rm", "--network", "container:other", image, "true")
    assert done.code == 125 and "running" in done.stderr


def test_a_name_that_is_given_during_a_launch_stays(
    minidock: Minidock, store: Store, image: str
) -> None:
    minidock.ok("create", "--name", "web", image, "true")
    launching = find(store, "web")
    minidock.ok("rename", "web", "other")
    set_running(launching, pid=0)
    save_running(launching)
    try:
        assert find(store, launching.id).name == "other"
    finally:
        mark_ended(launching, 0)


def test_a_command_that_does_not_read_holds_up_nobody(
    minidock: Minidock, store: Store, image: str
) -> None:
    """Its words wait for it, and the container is restarted meanwhile."""
    words = "[ -e /ran ] && exec sleep 600; touch /ran; seq 20000; exit 3"
    run = minidock.start("run", "--name", "web", "--restart", "always", image, "sh", "-c", words)
    await_true(
        lambda: os.path.exists(f"{store.containers}/{_id_of(store, 'web')}/container.json"),
        seconds=20,
    )
    await_restarts(store, "web", 1)
    await_status(store, "web", "running")
    said, _ = run.communicate(timeout=patience(10))
    assert said.split() == [str(n).encode() for n in range(1, 20001)]
    assert run.returncode == 3


def test_a_monitor_that_dies_between_two_runs_is_noticed(
    minidock: Minidock, store: Store, image: str
) -> None:
    minidock.ok("run", "-d", "--name", "web", "--restart", "always", image, *FAILING)
    await_long_pause(store, "web")
    os.kill(monitor_of(store, "web"), signal.SIGKILL)
    await_true(lambda: monitor_of(store, "web") == 0, seconds=20)
    assert minidock.ok("ps", "-q") == ""
    state = document(store, "web")["State"]
    assert (state["Status"], state["ExitCode"], state["Error"]) == ("exited", 3, "monitor lost")
    assert stores.leftovers(store) == []
    assert minidock.ok("system", "start-all") == "web"
    assert monitor_of(store, "web")


def test_out_of_memory_is_reported_between_two_runs(
    minidock: Minidock, store: Store, image: str
) -> None:
    eats = "x=x; while :; do x=$x$x; done"
    minidock.ok("run", "-d", "--name", "web", "-m", "16m", "--memory-swap", "16m", "--restart",
                "on-failure:1", image, "sh", "-c", eats)  # fmt: skip
    await_status(store, "web", "exited")
    state = document(store, "web")["State"]
    assert (state["ExitCode"], state["OOMKilled"]) == (137, True)
    assert document(store, "web")["RestartCount"] == 1


def test_explain_tells_each_restart(minidock: Minidock, store: Store, image: str) -> None:
    minidock.ok("run", "-d", "--name", "web", "--restart", "on-failure:2", image, *FAILING)
    await_status(store, "web", "exited")
    lines = minidock.ok("explain", "--all", "web")
    assert lines.count("timer.wake_after(milliseconds=") == 2
    assert lines.count("mount.pivot_root(") == 3
    assert "Wait before the next run" in lines
