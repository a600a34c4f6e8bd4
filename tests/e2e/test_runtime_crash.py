"""kill -9 of `minidock-runtime create` at any of its calls: `delete --force` leaves nothing.

strace kills it, at the n-th call of a kind, before the call is made. Init, which is not traced,
ends by itself when it hears that the runtime has gone, or waits and is killed by delete.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from minidock.paths import Store
from support import runtime
from support.patience import patience, stride
from support.runtime import Bundle, Runtime

pytestmark = [pytest.mark.root, pytest.mark.slow]

CALLS = ["mkdir", "rename", "clone3", "sendto", "recvmsg", "write", "mknodat", "pidfd_open"]


@pytest.fixture
def ours(
    tmp_path: Path, busybox_tar: Path, store: Store, require: Callable[[str], str]
) -> Iterator[Runtime]:
    require("runc")
    require("strace")
    bundle = Bundle(tmp_path / "bundle", busybox_tar)
    made = Runtime(runtime.minidock_runtime(), tmp_path / "state", bundle)
    yield made
    made.clear("box")


@pytest.mark.parametrize("call", CALLS)
def test_delete_after_a_killed_create_leaves_nothing(
    ours: Runtime, call: str, tmp_path: Path
) -> None:
    ours.bundle.write("sleep", "60")
    ours.ok("create", "box")  # the interpreter is sealed, all is compiled
    ours.ok("delete", "--force", "box")
    step = (4 if call == "write" else 1) * stride(3)
    at = 1
    while _create_killed_at(ours, call, at, tmp_path):
        told = ours("state", "box")
        ours.ok("delete", "--force", "box")
        _nothing_left(ours, f"{call} {at}: {told.stdout or told.stderr}")
        ours.ok("run", "--detach", "box")
        assert ours.status("box") == "running"
        ours.ok("delete", "--force", "box")
        at += step
    assert at > 1, f"create makes no {call}"


def _create_killed_at(ours: Runtime, call: str, number: int, tmp_path: Path) -> bool:
    """Create, killed at its n-th call of a kind; returns whether there were so many."""
    name = f"minidock-test-{ours.root.parent.name}-{call}-{number}"
    ours.bundle.write("sleep", "60", change=lambda c: c["linux"].update(cgroupsPath=f"/{name}"))
    trace = ["strace", "-o", tmp_path / "trace", "-e", f"trace={call}"]
    done = subprocess.run(
        [*trace, "-e", f"inject={call}:signal=KILL:when={number}", *ours.line("create", "box")],
        cwd=ours.bundle.directory, env=runtime.environment(), stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    return done.returncode != 0


def _nothing_left(ours: Runtime, when: str) -> None:
    """No state, no cgroup, no process of that container."""
    config = (ours.bundle.directory / "config.json").read_text()
    name = config.partition('"cgroupsPath": "/')[2].partition('"')[0]
    assert name, config
    assert ours.ok("list", "-q") == "", when
    assert [x for x in os.listdir(ours.root) if not x.startswith(".")] == [], when
    assert runtime.cgroup_directories(name) == [], when
    deadline = time.monotonic() + patience(5)
    while _processes_of(ours):
        assert time.monotonic() < deadline, when
        time.sleep(0.05)


def _processes_of(ours: Runtime) -> list[str]:
    """Processes that are our runtime, or init before its command."""
    found = []
    for entry in os.listdir("/proc"):
        try:
            line = Path(f"/proc/{entry}/cmdline").read_text()
        except OSError:
            continue
        if str(ours.root) in line:
            found.append(line)
    return found
