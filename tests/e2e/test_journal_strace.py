"""The journal against strace: what was called is told, in order, and nothing else is.

The watched calls are those that make a container (support/strace.py). For each process of minidock,
the calls that strace saw must be exactly the ops of that process's records, one for one; and each
call must come after its op's begin and before the next one's, so that the order holds across
processes too.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minidock.engine.image import archive
from minidock.paths import Store
from support import strace
from support.command import Minidock
from support.patience import patience

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(300)]

CLOCK_TOLERANCE_SECONDS = 0.002  # between the two clocks

# Which watched call an op makes; an op that is not here makes none. One that finds nothing to do is
# told as "absent" and makes none either, except that umount2 itself says that there is no mount.
CALL_OF = {
    "namespace.clone_process": "clone3",
    "process.spawn": "spawn",
    "iptables.save": "spawn",
    "iptables.restore": "spawn",
    "namespace.unshare": "unshare",
    "namespace.setns": "setns",
    "namespace.set_hostname": "sethostname",
    "mount.set_propagation": "mount",
    "mount.propagate_in_root": "mount",
    "mount.mount_filesystem": "mount",
    "mount.bind_mount": "mount",
    "mount.bind_to_itself": "mount",
    "mount.hide_path": "mount",
    "mount.unmount": "umount2",
    "mount.pivot_root": "pivot_root",
    "mount.set_mount_attributes": "mount_setattr",
    "mount.clone_read_only": "mount_setattr",
    "cgroup.write_file": "cgroup write",
}


@pytest.fixture
def image(store: Store, busybox_tar: Path) -> str:
    with open(busybox_tar, "rb") as tar:
        archive.import_rootfs(store, tar, "busybox:latest")
    return "busybox"


class Told:
    """An op that makes a watched call.

    pid: the host's number. since, until: when its process began this op, and the next one.
    """

    def __init__(self, pid: int, kind: str, record: dict[str, Any], until: float) -> None:
        self.pid = pid
        self.kind = kind
        self.record = record
        self.since = record["t"] / 1e9
        self.until = until


def told_by(journal: list[dict[str, Any]]) -> list[Told]:
    """The ops of a journal that make a watched call."""
    journal = numbered(journal)
    ends = {(*who(r), r["end"]): r for r in journal if "end" in r}
    begins = [record for record in journal if "begin" in record]
    births: dict[str, list[int]] = defaultdict(list)
    found = []
    for at, record in enumerate(begins):
        same = [r["t"] for r in begins[at + 1 :] if who(r) == who(record)]
        end = ends.get((*who(record), record["begin"]), {})
        if record["op"] == "namespace.clone_process":
            births[record["actor"]].append(end["made"])
        kind = CALL_OF.get(record["op"])
        needless = end.get("made") == "absent" and record["op"] != "mount.unmount"
        if kind is None or needless:
            continue
        # Who was born sees itself from inside its PID namespace.
        bearer = BEARER.get(record["actor"])
        pid = births[bearer][record["birth"]] if bearer else record["pid"]
        found.append(Told(pid, kind, record, same[0] / 1e9 if same else float("inf")))
    return found


BEARER = {"init": "monitor", "stage": "monitor", "exec": "stage"}


def numbered(journal: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The records, each of a born process with the number of its birth among its bearer's.

    A monitor bears one process after the other: init, the stage of an exec, another init where the
    container is started again. None of them tells anything after the next one is born.
    """
    told: dict[str, int] = defaultdict(lambda: -1)
    for record in journal:
        told[record["actor"]] += record.get("op") == "namespace.clone_process"
        record["birth"] = told[BEARER.get(record["actor"], "")]
    return journal


def who(record: dict[str, Any]) -> tuple[str, int, int]:
    return record["actor"], record["pid"], record["birth"]


def compare(output: Path, journal: list[dict[str, Any]]) -> int:
    """Hold the two against each other; returns how many calls there were."""
    seen: dict[int, list[strace.Call]] = defaultdict(list)
    told: dict[int, list[Told]] = defaultdict(list)
    for call in strace.calls(output):
        seen[call.pid].append(call)
    for op in told_by(journal):
        told[op.pid].append(op)
    clock = _clock()
    for pid in {*seen, *told}:
        for call, op in zip(seen[pid], told[pid], strict=False):
            assert call.kind == op.kind, f"strace saw {call.text}, the journal tells {op.record}"
            if op.kind == "cgroup write":
                assert call.text == "{value} > {path}".format(**op.record["args"])
            moment, slack = call.time - clock, CLOCK_TOLERANCE_SECONDS
            assert op.since - slack < moment < op.until + slack, (call, op.record)
        kinds = [call.kind for call in seen[pid]]
        assert kinds == [op.kind for op in told[pid]], f"process {pid}"
    return sum(map(len, seen.values()))


def _clock() -> float:
    """What strace's clock is ahead of the journal's, from the quickest of many looks at both."""
    looks = []
    for _ in range(200):
        before, wall, after = time.monotonic(), time.time(), time.monotonic()
        looks.append((after - before, wall - (before + after) / 2))
    return min(looks)[1]


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def keep_journal(store: Store, name: str, kept: Path) -> None:
    """The container will go, and its journal with it; a second name of that file stays."""
    container_id = os.readlink(f"{store.names}/{name}")
    os.link(store.container(container_id).journal, kept)


@pytest.fixture
def tracer(require: Callable[[str], str]) -> str:
    return require("strace")


@pytest.mark.parametrize("first", (True, False), ids=("first", "later"))
def test_detached_run_exec_and_removal(
    store: Store, minidock: Minidock, image: str, tracer: str, tmp_path: Path, first: bool
) -> None:
    """first: the store's first run, which seals the interpreter and makes the bridge."""
    if not first:
        minidock.ok("run", "--rm", image, "true")
    output, kept = tmp_path / "run.strace", Path(store.root) / "kept.jsonl"
    command = ("run", "-d", "--name", "box", "-p", "80", "-v", "data:/data", "--memory", "64m",
               image, "sleep", "60")  # fmt: skip
    said = tmp_path / "said"
    with open(said, "wb") as file:
        run = strace.start(tracer, output, store.root, *command, stdout=file)
    while len(said.read_text()) < 64 and run.poll() is None:
        time.sleep(0.05)
    keep_journal(store, "box", kept)
    minidock.ok("exec", "box", "true")
    removal = tmp_path / "rm.strace"
    assert strace.start(tracer, removal, store.root, "rm", "-f", "box").wait(patience(60)) == 0
    assert run.wait(patience(60)) == 0
    both = tmp_path / "both.strace"
    both.write_text(output.read_text() + removal.read_text())
    assert compare(both, read(kept)) > 50


def test_attached_run(
    store: Store, minidock: Minidock, image: str, tracer: str, tmp_path: Path
) -> None:
    output, kept = tmp_path / "run.strace", Path(store.root) / "kept.jsonl"
    minidock.ok("run", "--rm", image, "true")
    command = ("run", "-i", "--rm", "--name", "box", image, "cat")
    run = strace.start(
        tracer, output, store.root, *command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert run.stdin and run.stdout
    run.stdin.write(b"it runs\n")
    run.stdin.flush()
    assert run.stdout.readline() == b"it runs\n"
    keep_journal(store, "box", kept)
    run.stdin.close()
    assert run.wait(patience(60)) == 0
    journal = read(kept)
    assert compare(output, journal) > 40
    pivot = next(i for i, r in enumerate(journal) if r.get("op") == "mount.pivot_root")
    with pytest.raises(AssertionError, match="strace saw pivot_root"):
        compare(output, journal[:pivot] + journal[pivot + 1 :])


def test_pause_stop_and_start(
    store: Store, minidock: Minidock, image: str, tracer: str, tmp_path: Path
) -> None:
    minidock.ok("run", "-d", "--name", "box", "--stop-signal", "KILL", image, "sleep", "60")
    kept = Path(store.root) / "kept.jsonl"
    keep_journal(store, "box", kept)
    before = len(read(kept))
    texts = []
    for number, verb in enumerate(("pause", "unpause", "stop")):
        output = tmp_path / f"{number}.strace"
        quiet = subprocess.DEVNULL
        assert (
            strace.start(tracer, output, store.root, verb, "box", stdout=quiet).wait(patience(60))
            == 0
        )
        texts.append(output.read_text())
    both = tmp_path / "all.strace"
    both.write_text("".join(texts))
    journal = [r for r in read(kept)[before:] if r["actor"] == "engine"]
    assert compare(both, journal) >= 2


def test_a_restart_by_policy(
    store: Store, minidock: Minidock, image: str, tracer: str, tmp_path: Path
) -> None:
    """Two lives in one monitor, and one journal."""
    minidock.ok("run", "--rm", image, "true")
    output = tmp_path / "run.strace"
    command = ("run", "-d", "--restart", "on-failure:1", "--name", "box", image, "false")
    # strace ends when the monitor does: after the second life
    assert strace.start(tracer, output, store.root, *command).wait(patience(60)) == 0
    journal = read(Path(store.container(os.readlink(f"{store.names}/box")).journal))
    assert compare(output, journal) > 80
    lives = [r for r in journal if r.get("op") == "namespace.clone_process"]
    assert [r["actor"] for r in lives] == ["monitor", "monitor"]
    again = journal.index(lives[1])
    ops = [record.get("op") for record in journal]
    pivot = ops.index("mount.pivot_root", again)
    with pytest.raises(AssertionError, match="strace saw pivot_root"):
        compare(output, journal[:pivot] + journal[pivot + 1 :])
