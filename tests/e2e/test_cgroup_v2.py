"""A container in cgroup v2's one tree: what it sees of it, makes in it, and leaves of it."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from minidock.engine.container.containers import find
from minidock.kernel import cgroup
from minidock.paths import Store
from support.command import Minidock

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not cgroup.is_v2(), reason="this kernel has cgroup v1"),
]

TREE = Path("/sys/fs/cgroup")
LIMITS = ("--cpus", "0.5", "-m", "64m", "--pids-limit", "9", "--cpuset-cpus", "0")
FILES = {
    "cpu.max": "50000 100000",
    "memory.max": str(64 << 20),
    "memory.swap.max": str(64 << 20),
    "pids.max": "9",
    "cpuset.cpus": "0",
}
SUB_CGROUPS = (
    "cd /sys/fs/cgroup && mkdir init other && echo 1 > init/cgroup.procs && "
    "echo '+memory +pids' > cgroup.subtree_control && echo made && exec sleep 600"
)


def _directory(store: Store, ref: str) -> Path:
    return TREE / store.cgroup_parent / find(store, ref).id


def _limits(directory: Path) -> dict[str, str]:
    return {file: (directory / file).read_text().strip() for file in FILES}


def _until_logged(minidock: Minidock, ref: str, word: str) -> None:
    deadline = time.monotonic() + 10
    while word not in minidock.ok("logs", ref):
        assert time.monotonic() < deadline, str(minidock("logs", ref))
        time.sleep(0.1)


def test_container_sees_its_own_cgroup_as_the_root_and_cannot_write_to_it(
    minidock: Minidock, busybox_image: str
) -> None:
    look = "cat /proc/self/cgroup; grep -c ' /sys/fs/cgroup cgroup2 ro,' /proc/mounts; "
    look += "ls /sys/fs/cgroup/pids.max; mkdir /sys/fs/cgroup/x 2>/dev/null || echo refused"
    seen = minidock.ok("run", "--rm", busybox_image, "sh", "-c", look).splitlines()
    assert seen == ["0::/", "1", "/sys/fs/cgroup/pids.max", "refused"]


def test_limits_are_written_as_v2_counts_them(
    minidock: Minidock, busybox_image: str, store: Store
) -> None:
    minidock.ok("run", "-d", "--name", "box", *LIMITS, busybox_image, "sleep", "600")
    directory = _directory(store, "box")
    assert _limits(directory) == FILES
    minidock.ok("rm", "-f", "box")
    assert not directory.exists()


def test_exec_enters_beside_an_init_that_made_cgroups_of_its_own(
    minidock: Minidock, busybox_image: str, store: Store
) -> None:
    """As systemd does in a container: then no process may live in the cgroup above."""
    line = ("--name", "box", "--privileged", busybox_image, "sh", "-c", SUB_CGROUPS)
    minidock.ok("run", "-d", *line)
    _until_logged(minidock, "box", "made")
    assert minidock.ok("exec", "box", "cat", "/proc/self/cgroup") == "0::/init"
    minidock.ok("pause", "box")
    minidock.ok("unpause", "box")
    directory = _directory(store, "box")
    minidock.ok("rm", "-f", "box")
    assert not directory.exists()


def test_devices_are_refused_by_a_program(minidock: Minidock, busybox_image: str) -> None:
    disk = next(
        (d for d in Path("/sys/block").iterdir() if d.name.startswith(("nvme", "sd", "vd"))), None
    )
    if disk is None:
        pytest.skip("this kernel has no disk")
    major, minor = (disk / "dev").read_text().strip().split(":")
    read = f"mknod /disk b {major} {minor} && head -c 1 /disk | wc -c"
    refused = minidock("run", "--rm", busybox_image, "sh", "-c", read)
    assert "Operation not permitted" in refused.stderr, str(refused)
    device = ("--device", f"/dev/{disk.name}:/dev/given")
    given = minidock.ok("run", "--rm", *device, busybox_image, "sh", "-c", read)
    assert given == "1"


@pytest.mark.skipif(not os.path.isdir("/run/systemd/system"), reason="this kernel runs no systemd")
@pytest.mark.alone
def test_systemd_takes_no_limit_back_from_a_living_container(
    minidock: Minidock, busybox_image: str, store: Store
) -> None:
    minidock.ok("run", "-d", "--name", "box", *LIMITS, busybox_image, "sleep", "600")
    for command in (
        "systemctl daemon-reload",
        "systemd-run -q --wait -p CPUQuota=50% true",
        "systemd-run -q --wait true",
    ):
        subprocess.run(command.split(), check=True, timeout=60)
    assert _limits(_directory(store, "box")) == FILES
    minidock.ok("rm", "-f", "box")
