"""A container in cgroup v2's one tree: what it sees of it, makes in it, and leaves of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from minidock.engine.container.lookup import find
from minidock.kernel import cgroup, cgroup_tree
from minidock.kernel.cgroup import Cgroup
from minidock.paths import Store
from support import worlds
from support.command import Minidock
from support.patience import patience

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not cgroup.is_v2(), reason="this kernel has cgroup v1"),
]

TREE = Path("/sys/fs/cgroup")
LIMITS = ("--cpus", "0.5", "-m", "64m", "--pids-limit", "9", "--cpuset-cpus", "0", "-c", "512")
FILES = {
    "cpu.max": "50000 100000",
    "cpu.weight": "20",
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
    """The container's cgroup, as its init's own kernel says."""
    path = Path(f"/proc/{find(store, ref).state['Pid']}/cgroup").read_text().strip()
    return TREE / path.removeprefix("0::/")


def _limits(directory: Path) -> dict[str, str]:
    return {file: (directory / file).read_text().strip() for file in FILES}


def _until_logged(minidock: Minidock, ref: str, word: str) -> None:
    deadline = time.monotonic() + patience(10)
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
    directory = _directory(store, "box").parent
    minidock.ok("rm", "-f", "box")
    assert not directory.exists()


# --- where nobody owns the tree, or only a part of it is ours -------------------------------------


@pytest.fixture
def outer(store: Store) -> Iterator[Cgroup]:
    """A cgroup that somebody gave us; a container's, say."""
    made = cgroup_tree.open_cgroup(cgroup_tree.home_of(store.cgroup_parent), "outer")
    made.create()
    yield made
    made.kill_all()
    made.remove()


ROUND = """
minidock run -d --name box -m 32m --pids-limit 9 busybox sleep 600 >/dev/null
cat /proc/self/cgroup
minidock exec box cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max
minidock pause box >/dev/null; minidock inspect -f '{{.State.Status}}' box; minidock unpause box
minidock rm -f box
"""


def test_inside_another_container_limits_hold_without_systemd(
    minidock: Minidock, busybox_image: str, outer: Cgroup
) -> None:
    """Its cgroup is the root of what it sees, and full of its own processes."""
    seen = worlds.in_container(minidock, outer, ROUND)
    # The caller lives in a leaf now, beside the containers.
    assert seen == ["0::/init", str(32 << 20), "9", "paused", "box", "box"]
    (directory,) = outer.directories()
    assert {"cpu", "memory", "pids"} <= set(
        Path(directory, "cgroup.subtree_control").read_text().split()
    )


def test_where_the_root_is_read_only_containers_go_below_the_caller(
    minidock: Minidock, busybox_image: str, outer: Cgroup
) -> None:
    seen = worlds.with_read_only_root(minidock, outer, ROUND)
    assert seen == [f"0::/{outer.path}/init", str(32 << 20), "9", "paused", "box", "box"]


def test_where_nothing_can_be_written_to_the_error_says_so(
    minidock: Minidock, busybox_image: str, outer: Cgroup
) -> None:
    seen = worlds.with_read_only_root(
        minidock, None, "minidock run --rm busybox true 2>&1 || echo $?"
    )
    assert seen[-1] == "125"
    assert "Read-only file system" in seen[0] and "hint:" in seen[1], seen


def test_a_process_that_came_in_from_outside_is_named(
    minidock: Minidock, busybox_image: str, outer: Cgroup
) -> None:
    """As by nsenter: here it is seen as pid 0, and cannot be moved."""
    run = "minidock run --rm busybox true 2>&1 || echo $?"
    seen = worlds.in_container(minidock, outer, run, own_pids=True)  # unshare(1) itself is outside
    assert "cannot be seen from here" in seen[0] and seen[-1] == "125", seen
