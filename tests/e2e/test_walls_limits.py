"""What a container may use up, as the kernel counts it; its caller's limits are not its."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from minidock.engine.container.containers import find
from minidock.kernel import cgroup
from minidock.paths import Store
from support import walls
from support.command import Minidock
from support.patience import patience

pytestmark = pytest.mark.root

V2 = cgroup.is_v2()
TREE = "/sys/fs/cgroup" if V2 else "/sys/fs/cgroup/pids"


def _setting(v1: str, v2: str) -> str:
    """The path at which a container reads its own limit."""
    return f"/sys/fs/cgroup/{v2 if V2 else v1}"


def test_too_much_memory_ends_the_container_with_137_and_says_so(
    minidock: Minidock, busybox_image: str
) -> None:
    line = ("--name", "box", "-m", "16m", "--memory-swap", "16m", busybox_image)
    assert minidock("run", *line, "tail", "/dev/zero").code == 137
    state = "{{.State.OOMKilled}} {{.State.ExitCode}}"
    assert minidock.ok("inspect", "-f", state, "box") == "true 137"
    assert minidock("run", "--rm", *line[2:], "sh", "-c", "exit 137").code == 137


def test_exit_code_137_alone_is_no_lack_of_memory(minidock: Minidock, busybox_image: str) -> None:
    assert minidock("run", "--name", "box", busybox_image, "sh", "-c", "exit 137").code == 137
    assert minidock.ok("inspect", "-f", "{{.State.OOMKilled}}", "box") == "false"


def test_shared_memory_and_tmpfs_count_as_memory(minidock: Minidock, busybox_image: str) -> None:
    line = ("run", "--rm", "-m", "16m", "--memory-swap", "16m", "--tmpfs", "/t", busybox_image)
    fill = "dd if=/dev/zero of=/t/x bs=1M count=64; echo wrote $?"
    assert "wrote 0" not in minidock(*line, "sh", "-c", fill).stdout


def test_fork_bomb_stops_at_the_limit(minidock: Minidock, busybox_image: str, store: Store) -> None:
    bomb = "b() { b | b & }; b; while :; do sleep 1; done"
    line = ("--name", "box", "--pids-limit", "30", busybox_image, "sh", "-c", bomb)
    minidock.ok("run", "-d", *line)
    time.sleep(1)
    group = cgroup.open_cgroup(store.cgroup_parent, find(store, "box").id)
    assert 1 <= len(group.pids()) <= 30
    assert "can't fork" in minidock("logs", "box").stderr
    minidock.ok("rm", "-f", "box", timeout_seconds=20)
    assert not group.exists()


def test_processors_are_limited_in_time_and_in_number(
    minidock: Minidock, busybox_image: str
) -> None:
    flags = ("--cpus", "0.5", "--cpuset-cpus", "0", "--cpu-shares", "512")
    quota = _setting("cpu/cpu.cfs_quota_us", "cpu.max")
    look = f"cat {quota}; grep Cpus_allowed_list /proc/self/status"
    seen = minidock.ok("run", "--rm", *flags, busybox_image, "sh", "-c", look).split()
    assert seen[0] == "50000" and seen[-1] == "0"


def test_limits_are_seen_and_cannot_be_lifted_from_inside(
    minidock: Minidock, busybox_image: str
) -> None:
    limit = _setting("memory/memory.limit_in_bytes", "memory.max")
    lift = (
        f"cat {limit}; echo 999999999 > {limit}; echo 1 > /sys/fs/cgroup/cgroup.procs; cat {limit}"
    )
    line = ("run", "--rm", "-m", "32m", busybox_image, "sh", "-c", lift)
    seen = minidock(*line)
    assert seen.stdout.split() == ["33554432", "33554432"], str(seen)
    assert seen.stderr.count("Read-only file system") >= 1


@pytest.fixture
def tight_group() -> Iterator[Path]:
    """A cgroup for a caller that may have 12 processes."""
    path = Path(f"{TREE}/walls-{os.getpid()}")
    if V2:
        Path(f"{TREE}/cgroup.subtree_control").write_text("+pids")
    path.mkdir()
    (path / "pids.max").write_text("12")
    yield path
    deadline = time.monotonic() + patience(5)
    while (path / "cgroup.procs").read_text() and time.monotonic() < deadline:
        time.sleep(0.02)
    path.rmdir()


def _enter(group: Path) -> str:
    """Python that brings its process into a cgroup, and then becomes its argv."""
    return (
        "import os, sys\n"
        f"open('{group}/cgroup.procs', 'w').write(str(os.getpid()))\n"
        "os.execv(sys.argv[1], sys.argv[1:])"
    )


def test_caller_s_limits_are_not_the_container_s(
    minidock: Minidock, busybox_image: str, store: Store, tight_group: Path
) -> None:
    many = "i=0; while [ $i -lt 20 ]; do sleep 60 & i=$((i+1)); done; echo started $i; wait"
    line = ("run", "-d", "--name", "box", busybox_image, "sh", "-c", many)
    walls.run_as(minidock, _enter(tight_group), *line)
    deadline = time.monotonic() + patience(5)
    while "started 20" not in minidock.ok("logs", "box") and time.monotonic() < deadline:
        time.sleep(0.05)
    box = find(store, "box")
    assert len(cgroup.open_cgroup(store.cgroup_parent, box.id).pids()) == 21
    assert (tight_group / "cgroup.procs").read_text() == ""  # the monitor has left it too
    groups = Path(f"/proc/{box.state['Pid']}/cgroup").read_text().splitlines()
    ours = [line for line in groups if f"/{store.cgroup_parent}/{box.id}" in line]
    others = [line for line in groups if line not in ours and not line.endswith(":/")]
    assert ours and others == []
    minidock.ok("rm", "-f", "box")


def test_monitor_would_stay_in_its_caller_s_cgroup_without_leaving_it(
    minidock: Minidock, busybox_image: str, store: Store, tight_group: Path
) -> None:
    stay = (
        f"open('{tight_group}/cgroup.procs', 'w').write('0')\n"
        "from minidock.kernel import cgroup\n"
        "cgroup.leave_caller_cgroup = lambda *a, **k: None\n"
    )
    walls.without(minidock, stay, "run", "-d", "--name", "box", busybox_image, "sleep", "60")
    monitor = find(store, "box").monitor_pid
    assert str(monitor) in (tight_group / "cgroup.procs").read_text().split()
    minidock.ok("rm", "-f", "box")
