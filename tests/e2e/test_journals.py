"""Journals of execs, probes, copies, builds and networks; and what all records have."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from minidock.engine.store import stories
from minidock.kernel.isolation import ISOLATION
from minidock.kernel.op import Journal, use_journal
from minidock.kernel.record import Begin, End
from minidock.kernel.timer import wake_after
from minidock.paths import Store
from support.command import Minidock
from support.patience import patience

pytestmark = pytest.mark.root


def explained(minidock: Minidock, *arguments: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in minidock.ok("explain", "--json", *arguments).splitlines()]


def names(ops: list[dict[str, Any]]) -> set[tuple[str, str]]:
    return {(op["actor"], op["op"]) for op in ops}


def wait_for(path: str) -> None:
    """Until somebody has written a journal of that name."""
    deadline = time.monotonic() + patience(20)
    while not Path(path).exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_each_kind_of_operation_has_a_story_of_its_own(
    store: Store, minidock: Minidock, busybox_image: str, tmp_path: Path
) -> None:
    checks = ("--health-cmd", "true", "--health-interval", "200ms")
    minidock.ok("network", "create", "lab")
    box = minidock.ok("run", "-d", "--name", "box", *checks, busybox_image, "sleep", "1000")
    minidock.ok("exec", "box", "true")
    minidock.ok("exec", "-u", "7:8", "box", "true")
    (tmp_path / "note").write_text("hello")
    minidock.ok("cp", f"{tmp_path}/note", "box:/note")
    minidock.ok("network", "connect", "lab", "box")
    paths = store.container(box)
    wait_for(paths.health_journal)

    stories_of = {
        "exec": explained(minidock, "box", "--exec", "last"),
        "health": explained(minidock, "box", "--health"),
        "cp": explained(minidock, "box", "--cp"),
        "network": explained(minidock, "--network", "lab"),
    }
    entered = {("monitor", "namespace.clone_process"), ("stage", "namespace.setns"),
               ("exec", "process.execute"), ("exec", "path.set_umask")}  # fmt: skip
    assert entered <= names(stories_of["exec"]) and entered <= names(stories_of["health"])
    (user,) = [op for op in stories_of["exec"] if op["op"] == "process.set_user"]
    assert (user["args"], user["isolation"]) == ({"uid": 7, "gid": 8}, ["user"])
    copied = {("copy", "namespace.unshare"), ("copy", "path.chroot"),
              ("copy", "files.work_on_files")}  # fmt: skip
    assert copied <= names(stories_of["cp"])
    wired = {("engine", "link.add_bridge"), ("engine", "iptables.restore"),
             ("task", "link.add_veth"), ("monitor", "port.listen_for_names")}  # fmt: skip
    assert wired <= names(stories_of["network"])
    assert {op["story"] for op in stories_of["network"]} == {"create", "connect box"}
    run = explained(minidock, "box")
    assert not {op["actor"] for op in run} & {"stage", "exec", "copy"}
    ids = [op["id"] for ops in (run, *stories_of.values()) for op in ops]
    assert len(ids) == len(set(ids))
    _check_shape([*Path(paths.home).glob("*.jsonl"), Path(store.network_journal("lab"))])

    first, *_ = Path(paths.exec_journal).read_text().splitlines()
    exec_id = json.loads(first)["story"].partition(" ")[2]
    assert not [op for op in explained(minidock, "box", "--exec", exec_id[:6])
                if op["op"] == "process.set_user" and op["args"]["uid"]]  # fmt: skip
    refused = minidock("explain", "box", "--exec", "f00")
    assert refused.code == 1 and f"the last ones: {exec_id}" in refused.stderr
    minidock.ok("rm", "-f", "box")
    minidock.ok("network", "rm", "lab")
    assert not Path(store.network_journal("lab")).exists()


def test_a_build_is_explained_with_its_steps(
    store: Store, minidock: Minidock, busybox_image: str, tmp_path: Path
) -> None:
    assert "no build has made a layer" in minidock("explain", "--build").stderr
    (tmp_path / "note").write_text("hello")
    lines = ("FROM busybox", "RUN echo hi > /x", "COPY note /note", "WORKDIR /a/b")
    (tmp_path / "Dockerfile").write_text("\n".join(lines) + "\n")
    minidock.ok("build", "-q", "--no-cache", "--network", "none", str(tmp_path))
    ops = explained(minidock, "--build")
    told = {("engine", "overlay.open_overlay"), ("engine", "files.work_on_files"),
            ("monitor", "namespace.clone_process"), ("init", "process.execute"),
            ("monitor", "mount.unmount")}  # fmt: skip
    assert told <= names(ops)
    assert len({op["id"] for op in ops}) == len(ops)
    places = [op["args"]["place"] for op in ops if op["op"] == "files.work_on_files"]
    assert places == ["/note", "/a/b"]
    _check_shape([Path(store.build_journal)])


def test_waiting_is_no_work(minidock: Minidock, busybox_image: str) -> None:
    minidock.ok("run", "--name", "box", "--network", "none", busybox_image, "true")
    ops = explained(minidock, "box")
    assert [op["op"] for op in ops if op.get("wait")] == ["init.wait_for_start"]
    longest = minidock.ok("explain", "--phases", "box").rpartition("longest: ")[2]
    assert "wait_for_start" not in longest
    work = sorted((op["us"] for op in ops if "us" in op and not op.get("wait")), reverse=True)
    named = {op["op"] for op in ops if op.get("us") in work[:3]}
    assert {each.split()[0] for each in longest.split(" · ")} <= named


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(stories, "_MOST_BYTES", 4096)
    yield 4096
    use_journal(None)


def test_a_journal_of_many_probes_keeps_the_last_and_stays_small(
    tmp_path: Path, small: int
) -> None:
    path = tmp_path / "health.jsonl"
    use_journal(Journal(lambda record: None, actor="monitor"))
    for number in range(200):
        with stories.recording_story(str(path), f"health {number}"):
            wake_after(100000)
    kept = [json.loads(x) for p in (f"{path}.1", path) for x in Path(p).read_text().splitlines()]
    last = [record["story"] for record in kept if "begin" in record]
    assert last == [f"health {number}" for number in range(200 - len(last), 200)]
    assert len(last) > 5
    assert sum(each.stat().st_size for each in tmp_path.iterdir()) < 3 * small


def _check_shape(journals: list[Path]) -> None:
    """Each record is what kernel/record.py says."""
    for journal in journals:
        records = [json.loads(line) for line in journal.read_text().splitlines()]
        assert records, journal
        for record in records:
            shape = Begin if "begin" in record else End
            assert set(record) <= set(get_type_hints(shape)), record
            assert shape.__required_keys__ <= set(record), record
            if shape is Begin:
                assert record["isolation"] and set(record["isolation"]) <= set(ISOLATION)
                assert " at 0x" not in json.dumps(record)
                variables = record["args"].get("environment", [])
                named = [entry.partition("=")[0] for entry in variables]
                assert len(named) == len(set(named)), record
