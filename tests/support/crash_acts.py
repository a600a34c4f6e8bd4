"""What crash tests do on their stage (support/crash.py), and what must hold after each death."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from minidock.engine.container import create, lookup
from minidock.engine.image import archive
from minidock.engine.lifecycle import remove, start
from minidock.engine.monitor import exec_client as engine_exec
from minidock.engine.monitor.attach import Attachment
from minidock.errors import NotFound
from minidock.kernel.cgroup_tree import home_of, open_cgroup
from minidock.paths import Store
from support.crash import Stage
from support.patience import patience
from support.patience import stride as on_this_machine


def set_up(store: Store, busybox_tar: Path) -> Stage:
    """A store with busybox, a volume, and a network that was used once."""
    with open(busybox_tar, "rb") as tar:
        archive.import_rootfs(store, tar, "busybox:latest")
    made = Stage(store)
    for act in (run_detached, lambda store: remove.remove(store, "web", force=True)):
        done = made.command(lambda act=act: act(store))
        assert done.error is None, done
    noted(store).unlink()
    made.settle()
    return made


def body(**host: Any) -> dict[str, Any]:
    """A container with a published port and a volume, whose command ends on request."""
    return {
        "Image": "busybox",
        "Cmd": ["sleep", "600"],
        "StopSignal": "SIGKILL",  # as PID 1 it would not hear SIGTERM
        "ExposedPorts": {"80/tcp": {}},
        "HostConfig": {"PortBindings": {"80/tcp": [{}]}, "Binds": ["kept:/data"], **host},
    }


def run_detached(store: Store) -> None:
    """docker run -d --name web -p 80 -v kept:/data busybox sleep 600"""
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
    parent = home_of(store.cgroup_parent)
    for container in lookup.list_containers(store):
        pids = open_cgroup(parent, container.id).pids()
        listed.append({**container.state, "Id": container.id, "alive": bool(pids),
                       "monitor": container.monitor_pid})  # fmt: skip
    return listed


def aftermath(stage: Stage) -> list[dict[str, Any]]:
    """ps tells the truth, rm -f works, nothing is left; returns what ps said."""
    store = stage.store
    deadline = time.monotonic() + patience(2)
    while True:
        told = stage.command(lambda: is_there(store))
        assert told.error is None, told
        listed: list[dict[str, Any]] = told.value
        if all(c["Running"] == c["alive"] for c in listed) or time.monotonic() > deadline:
            break
    for container in listed:
        assert container["Running"] == container["alive"], container
        assert not container["Running"] or container["monitor"], container
        remove = functools.partial(remove_if_there, store, container["Id"])
        removed = stage.command(remove)
        assert removed.error is None, removed
    left = stage.leftovers()
    assert not left, left
    return listed


def remove_if_there(store: Store, container_id: str) -> None:
    try:
        remove.remove(store, container_id, force=True, volumes=True)
    except NotFound:
        pass  # it was run with --rm, and has gone meanwhile


def at_each_file(
    stage: Stage,
    act: Callable[[Store], Any],
    *,
    before: Callable[[Store], Any] | None = None,
    after: Callable[[Store], Any] | None = None,
    victim: str = "at_file",
    stride: int = 1,
) -> int:
    """Kill the command, or the monitor, before its first change, its second, up to the last.

    after: what else must hold then. stride: only every second, third, ... change; unless the run is
    long only every second of these, on a slow machine every third. Returns how many changes there
    are, about.
    """
    store = stage.store
    number, stride = 0, stride * on_this_machine(3, 2)
    while True:
        number += stride if number else 1
        if before is not None:
            begun = stage.command(lambda: before(store))
            assert begun.error is None, begun
        outcome = stage.command(lambda: act(store), **{victim: number})
        killed = stage.was_killed()
        at = stage.last_victim()
        try:
            if after is not None:
                checked = stage.command(lambda: after(store))
                assert checked.error is None, checked
            aftermath(stage)
        except AssertionError as error:
            error.add_note(f"killed before change {number}, {at}; {outcome}")
            raise
        noted(store).unlink(missing_ok=True)
        if not killed:
            assert outcome.error is None, outcome
            return number - 1
