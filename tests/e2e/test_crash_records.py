"""kill -9 at every record of the journal: after its begin and before the act, and after its end.

Each case: a fresh container is brought to the moment in question and the actor dies there. Then
`ps` must tell the truth, `rm -f` must work, and nothing may be left.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from minidock.engine.container import lookup
from minidock.engine.lifecycle import remove, start, stop
from minidock.kernel.cgroup import is_v2
from minidock.paths import Store
from support.crash import Outcome, Stage
from support.crash_acts import (
    aftermath,
    is_there,
    noted,
    run_attached,
    run_detached,
    run_in_it,
    take_noted,
)
from support.patience import steps

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning"),
]  # by execnet

KINDS = ("begin", "end")


def at_each_record(
    stage: Stage,
    actor: str,
    kind: str,
    act: Callable[[Store], Any],
    *,
    before: Callable[[Store], Any] | None = None,
    bears_monitor: bool = False,
    journal: str = "journal",
) -> int:
    """Kill the actor at its first record of that kind, then at its second, up to the last.

    On a slow machine at every tenth.

    before: makes the container on which to act; its journal is noted. bears_monitor: the act does,
    so the one that `before` bore is not to die. journal: which of the container's paths has the
    records. Returns how many such records there are.
    """
    store = stage.store

    def case(fault: str) -> tuple[Outcome, list[int]]:
        if before is not None:
            spared = bears_monitor or actor == "engine"
            begun = stage.command(lambda: before(store), fault="" if spared else fault)
            assert begun.error is None, begun
            told: str = getattr(store.container(os.readlink(f"{store.names}/web")), journal)
            open(told, "w").close()
            noted(store).unlink(missing_ok=True)
            os.link(told, noted(store))
        outcome = stage.command(lambda: act(store), fault=fault)
        return outcome, take_noted(store, actor, kind)

    outcome, numbers = case("")
    assert outcome.error is None, outcome
    aftermath(stage)
    name = f"{actor} {kind} {os.environ['PYTEST_CURRENT_TEST']}"
    for number in steps(numbers, name, apart=6):
        fault = f"{actor}:{number}:{kind}"
        outcome, reached = case(fault)
        last = reached[-1] if reached else 0
        try:
            # Init's last word may stay unread, where its monitor is busy with something else.
            killed = outcome.signal or last in (number, number - (actor == "init"))
            # The first run may have tried again what was busy: then this one ends sooner, and well.
            assert killed or (outcome.error is None and last < number), reached
            aftermath(stage)
        except AssertionError as error:
            error.add_note(f"killed at {fault}; {outcome}")
            raise
    return len(numbers)


def test_monitor_of_these_tests_does_what_the_real_one_does(stage: Stage) -> None:
    """Here it is a fork of a warm process; elsewhere the sealed interpreter is spawned."""
    told = []
    for real in (False, True):
        again = Stage(stage.store, real_monitor=real)
        assert again.command(lambda: run_detached(stage.store)).error is None
        lines = noted(stage.store).read_text().splitlines()
        noted(stage.store).unlink()
        records = [json.loads(line) for line in lines]
        told.append([(r["actor"], r["begin"], r["op"]) for r in records if "begin" in r])
        removed = again.command(lambda: remove.remove(stage.store, "web", force=True))
        assert removed.error is None
    assert sorted(told[0]) == sorted(told[1])


# How many records there are at least: v1 makes, fills and removes a cgroup in each of its trees.
V2 = is_v2()
TAKEN_DOWN = 4 if V2 else 10

each_kind = pytest.mark.parametrize("kind", KINDS)


@each_kind
@pytest.mark.parametrize("actor", ("engine", "monitor", "init"))
def test_detached_run_is_cut_short_at_every_record(stage: Stage, actor: str, kind: str) -> None:
    least = {"engine": 1, "monitor": 20 if V2 else 30, "init": 85}[actor]
    assert at_each_record(stage, actor, kind, run_detached) >= least


@each_kind
@pytest.mark.parametrize("actor", ("engine", "monitor", "init"))
def test_attached_run_is_cut_short_at_every_record(stage: Stage, actor: str, kind: str) -> None:
    least = {"engine": 1, "monitor": 25 if V2 else 45, "init": 85}[actor]
    assert at_each_record(stage, actor, kind, run_attached) >= least


@each_kind
@pytest.mark.parametrize("actor", ("engine", "monitor", "init"))
def test_start_is_cut_short_at_every_record(stage: Stage, actor: str, kind: str) -> None:
    def run_and_stop(store: Store) -> None:
        run_detached(store)
        stop.stop(store, "web")

    def start_again(store: Store) -> None:
        start.start(store, "web", attach=None)

    least = {"engine": 1, "monitor": 20 if V2 else 30, "init": 85}[actor]
    assert at_each_record(stage, actor, kind, start_again, before=run_and_stop,
                          bears_monitor=True) >= least  # fmt: skip


@each_kind
@pytest.mark.parametrize("actor", ("engine", "monitor"))
def test_stop_is_cut_short_at_every_record(stage: Stage, actor: str, kind: str) -> None:
    def stop_web(store: Store) -> None:
        stop.stop(store, "web")

    least = {"engine": 1, "monitor": TAKEN_DOWN}[actor]
    assert at_each_record(stage, actor, kind, stop_web, before=run_detached) >= least


@each_kind
@pytest.mark.parametrize("actor", ("engine", "monitor"))
def test_forced_removal_is_cut_short_at_every_record(stage: Stage, actor: str, kind: str) -> None:
    def remove_web(store: Store) -> None:
        remove.remove(store, "web", force=True)

    least = {"engine": 1, "monitor": TAKEN_DOWN}[actor]
    assert at_each_record(stage, actor, kind, remove_web, before=run_detached) >= least


@each_kind
def test_repair_after_a_crash_is_cut_short_at_every_record(stage: Stage, kind: str) -> None:
    def lose_monitor(store: Store) -> None:
        run_detached(store)
        container = lookup.find(store, "web")
        os.kill(container.monitor_pid, signal.SIGKILL)
        while container.monitor_pid:
            time.sleep(0.001)

    assert at_each_record(stage, "engine", kind, is_there, before=lose_monitor) >= TAKEN_DOWN


@each_kind
@pytest.mark.parametrize("actor", ("monitor", "stage", "exec"))
def test_exec_is_cut_short_at_every_record(stage: Stage, actor: str, kind: str) -> None:
    least = {"monitor": 1, "stage": 4, "exec": 8}[actor]
    assert at_each_record(stage, actor, kind, run_in_it, before=run_detached,
                          journal="exec_journal") >= least  # fmt: skip
