"""kill -9 before every change of a file: between the steps that no journal tells of.

A container is also files: its directory, its document, its name, its address. Each case: a command,
or the monitor, dies before its n-th change of a file or directory (Python's audit events tell of
each: mkdir, open for writing, rename, unlink, symlink, ...). Then `ps` must tell the truth, `rm -f`
must work, and nothing may be left.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from minidock.engine.container import create, lookup, volumes
from minidock.engine.lifecycle import remove, rename, stop
from minidock.paths import Store
from support.crash import Stage
from support.crash_acts import at_each_file, body, run_attached, run_detached

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning"),
]  # by execnet


def create_web(store: Store) -> None:
    """docker create --name web -v kept:/data -v /anonymous busybox sleep 60"""
    asked = body()
    asked["HostConfig"]["Binds"].append("/anonymous")
    create.create(store, asked, name="web")


def create_and_remove_volumes(store: Store) -> None:
    create_web(store)


def remove_web(store: Store) -> None:
    """docker rm -f -v web"""
    remove.remove(store, "web", force=True, volumes=True)


def fill(store: Store) -> None:
    """A container with something in it."""
    run_detached(store)
    upper = store.container(os.readlink(f"{store.names}/web")).upper
    stop.stop(store, "web")
    os.makedirs(f"{upper}/etc/deep/er")
    for name in ("a", "etc/b", "etc/deep/c", "etc/deep/er/d"):
        Path(f"{upper}/{name}").write_text("x")


def test_creation_is_cut_short_before_every_change(stage: Stage) -> None:
    assert at_each_file(stage, create_web) >= 10


def test_removal_is_cut_short_before_every_change(stage: Stage) -> None:
    assert at_each_file(stage, remove_web, before=fill) >= 10


def test_removal_of_a_running_container_is_cut_short_before_every_change(stage: Stage) -> None:
    assert at_each_file(stage, remove_web, before=run_detached) >= 10


def test_command_that_runs_is_cut_short_before_every_change(stage: Stage) -> None:
    assert at_each_file(stage, run_detached) >= 10


def test_monitor_of_a_detached_run_is_cut_short_before_every_change(stage: Stage) -> None:
    assert at_each_file(stage, run_detached, victim="monitor_at_file") >= 10


def test_monitor_of_an_attached_run_is_cut_short_before_every_change(stage: Stage) -> None:
    assert at_each_file(stage, run_attached, victim="monitor_at_file") >= 20


def test_renaming_is_cut_short_before_every_change(stage: Stage) -> None:
    """Afterwards the container answers to the one name that ps shows, and the other one is free."""

    def rename_web(store: Store) -> None:
        rename.rename(store, "web", "www")

    def has_one_name(store: Store) -> None:
        (listed,) = lookup.list_containers(store)
        assert lookup.find(store, listed.name).id == listed.id
        other = "www" if listed.name == "web" else "web"
        second = create.create(store, body(), name=other)
        remove.remove(store, second.id)

    assert at_each_file(stage, rename_web, before=create_web, after=has_one_name) >= 3


def test_repair_is_cut_short_before_every_change(stage: Stage) -> None:
    def lose_monitor(store: Store) -> None:
        run_detached(store)
        container = lookup.find(store, "web")
        os.kill(container.monitor_pid, 9)
        while container.monitor_pid:
            pass

    assert at_each_file(stage, lookup.list_containers, before=lose_monitor) >= 5


def test_volume_is_made_and_removed_whole(stage: Stage) -> None:
    def make(store: Store) -> None:
        volumes.create(store, "extra", options={}, labels={})

    def remove(store: Store) -> None:
        volumes.remove(store, "extra", force=True)

    assert at_each_file(stage, make, after=remove) >= 3
    assert at_each_file(stage, remove, before=make, after=remove) >= 2
