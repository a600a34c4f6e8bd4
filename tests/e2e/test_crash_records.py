"""kill -9 at every record of the journal: after its begin and before the act, and after its end.

Each case: a fresh container is brought to the moment in question and the actor dies there. Then
`ps` must tell the truth, `rm -f` must work, and nothing may be left.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from minidock.engine import actions, archive, containers, create, start
from minidock.engine import exec as engine_exec
from minidock.engine.attach import Attachment
from minidock.errors import NotFound
from minidock.kernel.cgroup import open_cgroup
from minidock.paths import Store
from support.crash import Outcome, Stage

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(600),
              pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")]  # by execnet

KINDS = ("begin", "end")


@pytest.fixture
def stage(store: Store, busybox_tar: Path) -> Iterator[Stage]:
    """A store with busybox, a volume, and a network that was used once."""
    with open(busybox_tar, "rb") as tar:
        archive.import_rootfs(store, tar, "busybox:latest")
    made = Stage(store)
    assert made.command(lambda: run_detached(store)).error is None
    assert made.command(lambda: actions.remove(store, "web", force=True)).error is None
    noted(store).unlink()
    made.settle()
    yield made


def body(**host: Any) -> dict[str, Any]:
    """A container with a published port and a volume, whose command ends when it is told to."""
    return {
        "Image": "busybox",
        "Cmd": ["sleep", "60"],
        "StopSignal": "SIGKILL",  # as PID 1 it would not hear SIGTERM
        "ExposedPorts": {"80/tcp": {}},
        "HostConfig": {"PortBindings": {"80/tcp": [{}]}, "Binds": ["kept:/data"], **host},
    }


def run_detached(store: Store) -> None:
    """docker run -d --name web -p 80 -v kept:/data busybox sleep 60"""
    container = create.create(store, body(), name="web")
    start.start(store, container.id, attach=None, on_record=note(store))


def run_attached(store: Store) -> None:
    """docker run --rm --name web -p 80 -v kept:/data busybox true"""
    asked = {**body(AutoRemove=True), "Cmd": ["true"]}
    container = create.create(store, asked, name="web")
    attachment = Attachment(stdin=False)
    start.start(store, container.id, attach=attachment, on_record=note(store))


def run_in_it(store: Store) -> int | None:
    """docker exec web true"""
    process = {"Cmd": ["true"], "AttachStdout": True}
    return engine_exec.execute(store, "web", process, Attachment(stdin=False))


def note(store: Store) -> Callable[[str], None]:
    """Has a run's records written to a file that outlives the container."""
    file = open(noted(store), "a")

    def write(record: str) -> None:
        file.write(record)
        file.flush()

    return write


def noted(store: Store) -> Path:
    return Path(store.root) / "noted.jsonl"


def take_noted(store: Store, actor: str, kind: str) -> list[int]:
    """The numbers of an actor's records of a kind, in their order; they are forgotten then."""
    path = noted(store)
    lines = path.read_text().splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    told = [json.loads(line) for line in lines]
    return [record[kind] for record in told if record["actor"] == actor and kind in record]


def is_there(store: Store) -> list[dict[str, Any]]:
    """What `ps -a` says, beside what the kernel says: "alive" is whether processes live in it."""
    listed = []
    for container in containers.every(store):
        pids = open_cgroup(store.cgroup_parent, container.id).pids()
        listed.append({**container.state, "Id": container.id, "alive": bool(pids),
                       "monitor": container.monitor_pid})  # fmt: skip
    return listed


def aftermath(stage: Stage) -> list[dict[str, Any]]:
    """ps tells the truth, rm -f works, nothing is left; returns what ps said."""
    store = stage.store
    deadline = time.monotonic() + 2
    while True:
        told = stage.command(lambda: is_there(store))
        assert told.error is None, told
        listed: list[dict[str, Any]] = told.value
        if all(c["Running"] == c["alive"] for c in listed) or time.monotonic() > deadline:
            break
    for container in listed:
        assert container["Running"] == container["alive"], container
        assert not container["Running"] or container["monitor"], container
        removed = stage.command(lambda: remove_if_there(store, container["Id"]))
        assert removed.error is None, removed
    assert stage.residue() == set()
    return listed


def remove_if_there(store: Store, container_id: str) -> None:
    try:
        actions.remove(store, container_id, force=True)
    except NotFound:
        pass  # it was run with --rm, and has gone meanwhile


def at_each_record(
    stage: Stage,
    actor: str,
    kind: str,
    act: Callable[[Store], Any],
    *,
    before: Callable[[Store], Any] | None = None,
    bears_monitor: bool = False,
) -> int:
    """Kill the actor at its first record of that kind, then at its second, up to the last.

    before: makes the container on which to act; its journal is noted. bears_monitor: the act does,
    so the one that `before` bore is not to die. Returns how many such records there are.
    """
    store = stage.store

    def case(fault: str) -> tuple[Outcome, list[int]]:
        if before is not None:
            spared = bears_monitor or actor == "engine"
            begun = stage.command(lambda: before(store), fault="" if spared else fault)
            assert begun.error is None, begun
            journal = store.container(os.readlink(f"{store.names}/web")).journal
            os.truncate(journal, 0)
            noted(store).unlink(missing_ok=True)
            os.link(journal, noted(store))
        outcome = stage.command(lambda: act(store), fault=fault)
        return outcome, take_noted(store, actor, kind)

    outcome, numbers = case("")
    assert outcome.error is None, outcome
    aftermath(stage)
    for number in numbers:
        fault = f"{actor}:{number}:{kind}"
        outcome, reached = case(fault)
        try:
            # Init's last word may stay unread, where its monitor is busy with something else.
            assert outcome.signal or reached[-1] in (number, number - (actor == "init")), reached
            aftermath(stage)
        except AssertionError as error:
            error.add_note(f"killed at {fault}; {outcome}")
            raise
    return len(numbers)


each_kind = pytest.mark.parametrize("kind", KINDS)


@each_kind
@pytest.mark.parametrize("actor", ("engine", "monitor", "init"))
def test_detached_run_is_cut_short_at_every_record(stage: Stage, actor: str, kind: str) -> None:
    least = {"engine": 1, "monitor": 30, "init": 90}[actor]
    assert at_each_record(stage, actor, kind, run_detached) >= least


@each_kind
@pytest.mark.parametrize("actor", ("engine", "monitor", "init"))
def test_attached_run_is_cut_short_at_every_record(stage: Stage, actor: str, kind: str) -> None:
    least = {"engine": 1, "monitor": 45, "init": 90}[actor]
    assert at_each_record(stage, actor, kind, run_attached) >= least


@each_kind
@pytest.mark.parametrize("actor", ("engine", "monitor", "init"))
def test_start_is_cut_short_at_every_record(stage: Stage, actor: str, kind: str) -> None:
    def run_and_stop(store: Store) -> None:
        run_detached(store)
        actions.stop(store, "web")

    def start_again(store: Store) -> None:
        start.start(store, "web", attach=None)

    least = {"engine": 1, "monitor": 30, "init": 90}[actor]
    assert at_each_record(stage, actor, kind, start_again, before=run_and_stop,
                          bears_monitor=True) >= least  # fmt: skip


@each_kind
@pytest.mark.parametrize("actor", ("engine", "monitor"))
def test_stop_is_cut_short_at_every_record(stage: Stage, actor: str, kind: str) -> None:
    def stop(store: Store) -> None:
        actions.stop(store, "web")

    least = {"engine": 1, "monitor": 10}[actor]
    assert at_each_record(stage, actor, kind, stop, before=run_detached) >= least


@each_kind
@pytest.mark.parametrize("actor", ("engine", "monitor"))
def test_forced_removal_is_cut_short_at_every_record(stage: Stage, actor: str, kind: str) -> None:
    def remove(store: Store) -> None:
        actions.remove(store, "web", force=True)

    least = {"engine": 1, "monitor": 10}[actor]
    assert at_each_record(stage, actor, kind, remove, before=run_detached) >= least


@each_kind
def test_repair_after_a_crash_is_cut_short_at_every_record(stage: Stage, kind: str) -> None:
    def lose_monitor(store: Store) -> None:
        run_detached(store)
        container = containers.find(store, "web")
        os.kill(container.monitor_pid, signal.SIGKILL)
        while container.monitor_pid:
            time.sleep(0.001)

    assert at_each_record(stage, "engine", kind, is_there, before=lose_monitor) >= 10


@each_kind
@pytest.mark.parametrize("actor", ("monitor", "stage", "exec"))
def test_exec_is_cut_short_at_every_record(stage: Stage, actor: str, kind: str) -> None:
    least = {"monitor": 1, "stage": 4, "exec": 8}[actor]
    assert at_each_record(stage, actor, kind, run_in_it, before=run_detached) >= least
