"""After a reboot: what `system start-all` starts, and what `system stop-all` leaves behind.

The tables are what a dockerd 26.1 did, once stopped in good order and started, and once after a
kill -9 of all that it ran.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from minidock.paths import Store
from support import stores
from support.command import Minidock
from support.patience import patience
from support.ports import free_port

pytestmark = [pytest.mark.root, pytest.mark.slow]

POLICIES = ("no", "always", "unless-stopped", "on-failure", "on-failure:2")
# what became of it before -> the policies under which it comes back
AFTER_A_REBOOT = {
    "created": (),
    "runs": POLICIES[1:],
    "stopped": ("always", "on-failure", "on-failure:2"),  # with 137
    "ended well": ("always", "unless-stopped"),
}
AFTER_A_SHUTDOWN = {**AFTER_A_REBOOT, "ends well": ("always", "unless-stopped")}
ENDS_WELL = ("sh", "-c", 'trap "exit 0" TERM; echo ready; while :; do sleep 0.05; done')


@pytest.fixture
def image(store: Store, busybox_tar: Path) -> Iterator[str]:
    yield from stores.busybox_and_no_leftovers(store, busybox_tar)


def prepare(minidock: Minidock, image: str, policy: str, fates: dict[str, tuple[str, ...]]) -> None:
    """One container for each fate, named after it."""
    kept = ("--network", "none", "--restart", policy)
    for fate in fates:
        name = ("--name", fate.replace(" ", "-"))
        if fate == "created":
            minidock.ok("create", *name, *kept, image, "sleep", "600")
        elif fate == "ended well":
            # An exit with 0 that no policy brings back at once: a stop that it obeys.
            run_until_ready(minidock, *name, *kept, image, *ENDS_WELL)
        elif fate == "ends well":
            run_until_ready(minidock, *name, *kept, image, *ENDS_WELL)
        else:
            minidock.ok("run", "-d", *name, *kept, "--stop-signal", "KILL", image, "sleep", "600")
            if fate == "stopped":
                minidock.ok("stop", *name[1:])


def run_until_ready(minidock: Minidock, *arguments: str) -> None:
    minidock.ok("run", "-d", *arguments)
    deadline = time.monotonic() + patience(10)
    while "ready" not in minidock.ok("logs", arguments[1]):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def run_to_a_good_end(minidock: Minidock, store: Store, image: str, policy: str) -> None:
    """A container that has ended with 0 by itself, when the machine went down."""
    home = f"{store.containers}/{os.readlink(f'{store.names}/ended-well')}"
    minidock.ok("stop", "ended-well")
    Path(home, "manually-stopped").unlink(missing_ok=True)  # kept only where there is a policy
    state = json.loads(Path(home, "container.json").read_text())["State"]
    assert state["ExitCode"] == 0


def running(minidock: Minidock) -> set[str]:
    """Those that run, by what the kernel says: each has a process."""
    names = minidock.ok("ps", "--format", "{{.Names}}").split()
    for name in names:
        pid = minidock.ok("inspect", "-f", "{{.State.Pid}}", name)
        assert os.path.exists(f"/proc/{pid}")
    return set(names)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("how", ("reboot", "shutdown"))
def test_who_comes_back(
    minidock: Minidock, store: Store, image: str, policy: str, how: str
) -> None:
    fates = AFTER_A_SHUTDOWN if how == "shutdown" else AFTER_A_REBOOT
    prepare(minidock, image, policy, fates)
    run_to_a_good_end(minidock, store, image, policy)
    if how == "shutdown":
        stopped = set(minidock.ok("system", "stop-all").split())
        assert stopped == {"runs", "ends-well"}
        assert minidock.ok("ps", "-q") == ""
        assert minidock.ok("inspect", "-f", "{{.State.ExitCode}}", "ends-well") == "0"
    stores.reboot(store)
    said = minidock.ok("system", "start-all").split()
    expected = {fate.replace(" ", "-") for fate, who in fates.items() if policy in who}
    assert set(said) == expected and len(said) == len(expected)
    assert running(minidock) == expected
    assert minidock.ok("system", "start-all") == ""  # they run already


def test_an_error_of_one_does_not_keep_the_others(
    minidock: Minidock, store: Store, image: str
) -> None:
    port = free_port()
    for name in ("before", "taken", "after"):
        publish = ("-p", f"127.0.0.1:{port}:80") if name == "taken" else ("--network", "none")
        minidock.ok("run", "-d", "--name", name, *publish, "--restart", "always", image, "sleep",
                    "600")  # fmt: skip
    stores.reboot(store)
    with socket.create_server(("127.0.0.1", port)):
        done = minidock("system", "start-all")
    assert done.code == 1
    assert set(done.stdout.split()) == {"before", "after"}
    assert done.stderr.startswith("minidock: taken: ") and str(port) in done.stderr
    assert running(minidock) == {"before", "after"}


def test_one_that_joins_a_network_comes_after_it(
    minidock: Minidock, store: Store, image: str
) -> None:
    """Though it was created first."""
    minidock.ok("run", "-d", "--name", "first", "--restart", "always", image, "sleep", "600")
    modes = ("--network", "container:first", "--pid", "container:first")
    for name in ("joins", "joins-too"):
        minidock.ok("run", "-d", "--name", name, "--restart", "always", *modes, image, "sleep",
                    "600")  # fmt: skip
    stores.reboot(store)
    said = minidock.ok("system", "start-all").split()
    assert said[0] == "first" and set(said[1:]) == {"joins", "joins-too"}
    pids = minidock.ok("inspect", "-f", "{{.State.Pid}}", "first", "joins", "joins-too").split()
    assert len({os.readlink(f"/proc/{pid}/ns/net") for pid in pids}) == 1


def test_many_are_started_side_by_side(minidock: Minidock, store: Store, image: str) -> None:
    """Their launches overlap in time, and their addresses are their own."""
    names = [f"web{number}" for number in range(6)]
    for name in names:
        minidock.ok("run", "-d", "--name", name, "--restart", "always", image, "sleep", "600")
    stores.reboot(store)
    assert sorted(minidock.ok("system", "start-all").split()) == names
    spans = []
    for name in names:
        home = f"{store.containers}/{os.readlink(f'{store.names}/{name}')}"
        lines = Path(home, "journal.jsonl").read_text().splitlines()
        times = [json.loads(line)["t"] for line in lines if '"begin"' in line]
        spans.append((times[0], times[-1]))
    assert any(a[0] < b[0] < a[1] for a in spans for b in spans)
    form = "{{.NetworkSettings.IPAddress}}"
    assert len(set(minidock.ok("inspect", "-f", form, *names).split())) == len(names)


def test_stop_all_takes_as_long_as_the_slowest(
    minidock: Minidock, store: Store, image: str
) -> None:
    """Each has its own signal and its own time, and who does not listen is killed at its end."""
    for name in ("deaf", "deaf-too", "paused"):
        minidock.ok("run", "-d", "--name", name, "--network", "none", "--stop-timeout", "2", image,
                    "sh", "-c", "trap '' TERM; while :; do sleep 0.1; done")  # fmt: skip
    usr1 = 'trap "exit 4" USR1; echo ready; while :; do sleep 0.05; done'
    run_until_ready(minidock, "--name", "hears", "--network", "none", "--restart", "always",
                    "--stop-signal", "USR1", image, "sh", "-c", usr1)  # fmt: skip
    minidock.ok("pause", "paused")
    began = time.monotonic()
    said = minidock.ok("system", "stop-all").split()
    took = time.monotonic() - began
    assert said.index("hears") == 3 or took < patience(4)
    assert set(said) == {"deaf", "deaf-too", "paused", "hears"}
    assert 2 <= took < max(3 * 2, 2 + patience(2)), "not one after the other"
    form = "{{.Name}} {{.State.ExitCode}}"
    codes = minidock.ok("inspect", "-f", form, "deaf", "deaf-too", "hears", "paused").splitlines()
    assert codes == ["/deaf 137", "/deaf-too 137", "/hears 4", "/paused 137"]
    assert stores.leftovers(store) == []


def test_stop_all_ends_one_that_waits_for_its_restart(
    minidock: Minidock, store: Store, image: str
) -> None:
    minidock.ok("run", "-d", "--name", "web", "--network", "none", "--restart", "on-failure",
                image, "sh", "-c", "exit 3")  # fmt: skip
    paused = ("inspect", "-f", "{{and .State.Restarting (ge .RestartCount 4)}}", "web")
    deadline = time.monotonic() + patience(20)
    while minidock.ok(*paused) != "true":  # from here on a pause takes 1.6 s and more
        assert time.monotonic() < deadline
    assert minidock.ok("system", "stop-all") == "web"
    assert minidock.ok("ps", "-q") == ""
    assert minidock.ok("system", "start-all") == "web"
    assert minidock.ok("ps", "-q") != ""


def test_nothing_is_done_in_an_empty_store(minidock: Minidock, store: Store) -> None:
    for verb in ("start-all", "stop-all"):
        done = minidock("system", verb)
        assert (done.code, done.stdout, done.stderr) == (0, "", "")
