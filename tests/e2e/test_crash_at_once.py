"""Commands side by side: a container is one command's at a time, and each has its answer."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable

import pytest

from minidock.engine.container import create, lookup
from minidock.engine.lifecycle import kill, pause, remove, start, stop
from minidock.engine.monitor.attach import Attachment
from minidock.errors import Conflict, MinidockError, NotFound
from minidock.paths import Store
from support.command import Minidock
from support.crash import Command, Outcome, Stage
from support.crash_acts import aftermath, body, noted, run_detached
from support.patience import patience

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning"),
]  # by execnet


def all_of(commands: list[Command]) -> list[Outcome]:
    return [command.wait() for command in commands]


def errors(outcomes: list[Outcome]) -> list[MinidockError]:
    return [outcome.error for outcome in outcomes if outcome.error is not None]


def test_ten_runs_at_once_have_ten_addresses(minidock: Minidock, stage: Stage) -> None:
    runs = [
        minidock.start("run", "-d", "--name", f"c{n}", "-p", "80", "busybox", "sleep", "600")
        for n in range(10)
    ]
    for run in runs:
        _, said = run.communicate(timeout=patience(60))
        assert run.returncode == 0, said
    form = "{{.NetworkSettings.IPAddress}}"
    addresses = minidock.ok("inspect", "-f", form, *(f"c{n}" for n in range(10))).split()
    assert len(set(addresses)) == 10
    for n, address in enumerate(addresses):
        minidock.ok("exec", f"c{(n + 1) % 10}", "ping", "-c", "1", "-W", "5", address)
    aftermath(stage)


@pytest.mark.parametrize("attempt", range(5))
def test_one_of_two_equal_names_wins(minidock: Minidock, stage: Stage, attempt: int) -> None:
    command = ("run", "-d", "--name", "web", "busybox", "sleep", "600")
    ended = []
    for run in [minidock.start(*command), minidock.start(*command)]:
        _, said = run.communicate(timeout=patience(60))
        ended.append((run.returncode, said.decode()))
    (lost,) = [said for code, said in ended if code != 0]
    assert sorted(code for code, _ in ended) == [0, 125]
    assert 'the container name "/web" is already in use by container' in lost
    assert "minidock rm -f web" in lost and "--name" in lost
    (listed,) = aftermath(stage)
    assert listed["Running"]


@pytest.mark.parametrize("attempt", range(5))
def test_container_that_is_started_twice_runs_once(stage: Stage, attempt: int) -> None:
    store = stage.store
    stage.command(lambda: create.create(store, body(), name="web").id)
    begun = [stage.begin(lambda: start.start(store, "web", attach=None)) for _ in range(3)]
    assert errors(all_of(begun)) == []
    (listed,) = aftermath(stage)
    assert listed["Running"]


@pytest.mark.parametrize("delay_ms", (0, 5, 10, 20, 40, 60, 80, 120))
def test_container_is_removed_while_it_starts(stage: Stage, delay_ms: int) -> None:
    store = stage.store
    stage.command(lambda: create.create(store, body(), name="web").id)
    starting = stage.begin(lambda: start.start(store, "web", attach=None))
    time.sleep(delay_ms / 1000)  # at any moment of its way
    removed = stage.command(lambda: remove.remove(store, "web", force=True))
    assert removed.error is None, removed
    started = starting.wait()
    assert started.error is None or isinstance(started.error, (NotFound, Conflict)), started
    assert aftermath(stage) == []


@pytest.mark.parametrize("delay_ms", (0, 10, 40, 80))
def test_container_is_stopped_while_it_starts(stage: Stage, delay_ms: int) -> None:
    store = stage.store
    stage.command(lambda: create.create(store, body(), name="web").id)
    starting = stage.begin(lambda: start.start(store, "web", attach=None))
    time.sleep(delay_ms / 1000)  # at any moment of its way
    stopped = stage.command(lambda: stop.stop(store, "web"))
    assert stopped.error is None, stopped
    assert starting.wait().error is None
    aftermath(stage)


@pytest.mark.parametrize("act", (stop.stop, kill.kill))
def test_paused_container_that_another_unpauses_ends(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, act: Callable[[Store, str], None]
) -> None:
    """The other command comes after this one has seen that it is paused."""
    store, unpause = stage.store, pause.unpause

    def later(store: Store, reference: str) -> None:
        unpause(store, reference)
        unpause(store, reference)

    assert stage.command(lambda: run_detached(store)).error is None
    assert stage.command(lambda: pause.pause(store, "web")).error is None
    monkeypatch.setattr(pause, "unpause", later)
    ended = stage.command(lambda: act(store, "web"))
    assert ended.error is None, ended
    (listed,) = aftermath(stage)
    assert (listed["Status"], listed["ExitCode"]) == ("exited", 137)


def test_stop_and_kill_at_once_both_succeed(stage: Stage) -> None:
    store = stage.store

    def kill_it() -> None:
        try:
            kill.kill(store, "web")
        except Conflict as error:
            assert "is not running" in str(error)

    for _ in range(5):
        stage.command(lambda: run_detached(store))
        begun = [stage.begin(lambda: stop.stop(store, "web")), stage.begin(kill_it)]
        assert errors(all_of(begun)) == []
        (listed,) = aftermath(stage)
        assert (listed["Status"], listed["ExitCode"]) == ("exited", 137)
        noted(store).unlink()


@pytest.mark.parametrize("lost", (False, True), ids=("monitor alive", "monitor dead"))
def test_five_removals_at_once(stage: Stage, lost: bool) -> None:
    store = stage.store

    def remove_web() -> bool:
        try:
            remove.remove(store, "web", force=True)
        except NotFound:
            return False
        return True

    for _ in range(4):
        assert stage.command(lambda: run_detached(store)).error is None
        if lost:
            stage.command(lambda: kill_monitor(store))
        outcomes = all_of([stage.begin(remove_web) for _ in range(5)])
        assert errors(outcomes) == []
        assert any(outcome.value for outcome in outcomes)
        assert aftermath(stage) == []
        noted(store).unlink()


def kill_monitor(store: Store) -> None:
    container = lookup.find(store, "web")
    subprocess.run(["kill", "-9", str(container.monitor_pid)], check=True)
    while container.monitor_pid:
        time.sleep(0.001)


def test_listing_never_fails_while_containers_come_and_go(stage: Stage) -> None:
    store = stage.store
    deadline = time.monotonic() + patience(6)

    def come_and_go(name: str) -> int:
        count = 0
        while time.monotonic() < deadline:
            asked = {**body(AutoRemove=count % 2 == 0), "Cmd": ["sleep", "600"]}
            made = create.create(store, asked, name=name)
            start.start(store, made.id, attach=None)
            remove.remove(store, name, force=True)
            count += 1
        return count

    def run_through() -> int:
        asked = {**body(AutoRemove=True), "Cmd": ["true"]}
        while time.monotonic() < deadline:
            made = create.create(store, asked, name=None)
            assert start.start(store, made.id, attach=Attachment(stdin=False)) == 0
        return 1

    def look() -> set[str]:
        seen = set()
        while time.monotonic() < deadline:
            for container in lookup.list_containers(store):
                status = container.state["Status"]
                assert container.running == (status == "running"), container.document
                assert not container.running or container.state["Pid"], container.document
                assert container.state["ExitCode"] in (0, 137), container.document
                assert not container.state["Error"], container.document
                seen.add(status)
        return seen

    going = [stage.begin(lambda: come_and_go("one")), stage.begin(lambda: come_and_go("two"))]
    going.append(stage.begin(run_through))
    looking = [stage.begin(look), stage.begin(look)]
    outcomes = all_of(going + looking)
    assert errors(outcomes) == []
    assert all(outcome.value for outcome in outcomes)
    assert aftermath(stage) == []
