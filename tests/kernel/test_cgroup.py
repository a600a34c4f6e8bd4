"""Cgroups on this kernel: real processes, real limits, and what the kernel says of both."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from minidock.errors import Conflict, KernelError, MinidockError
from minidock.kernel import cgroup, cgroup_delegation, cgroup_tree
from minidock.kernel.cgroup import Cgroup
from minidock.kernel.cgroup_tree import open_cgroup
from minidock.paths import Store
from support.command import environment
from support.machine import disk_of
from support.patience import is_slow, patience

pytestmark = pytest.mark.root
MIB = 1 << 20
V2 = cgroup.is_v2()
v1_only = pytest.mark.skipif(V2, reason="this kernel has cgroup v2")
v2_only = pytest.mark.skipif(not V2, reason="this kernel has cgroup v1")


@pytest.fixture
def parent(store: Store) -> Iterator[str]:
    """Where minidock makes its cgroups on this machine, for this store."""
    made = cgroup_tree.home_of(store.cgroup_parent)
    yield made
    cgroup_tree.remove_parent(made)


@pytest.fixture
def group(parent: str) -> Iterator[Cgroup]:
    made = open_cgroup(parent, "c1")
    made.create()
    yield made
    made.kill_all()
    made.remove()


class Spawned(subprocess.Popen[bytes]):
    """Ends with its block, however that ends."""

    def __exit__(self, *failure: Any) -> None:
        self.kill()
        super().__exit__(*failure)


def spawn_in(group: Cgroup, *command: str) -> Spawned:
    """Start a command that joins the cgroup by itself before it is executed."""
    return Spawned(
        command, preexec_fn=group.join, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def until(condition: Callable[[], bool], seconds: float = 5) -> bool:
    deadline = time.monotonic() + patience(seconds)
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def paths_of(pid: int) -> set[str]:
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    return {line.split(":", 2)[2] for line in lines}


def test_a_process_that_joins_is_in_every_tree(group: Cgroup) -> None:
    with spawn_in(group, "sleep", "60") as process:
        assert paths_of(process.pid) == {f"/{group.path}"}
        assert group.pids() == [process.pid]
        process.kill()


def test_a_process_can_be_added_from_outside(group: Cgroup) -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        group.add(process.pid)
        assert paths_of(process.pid) == {f"/{group.path}"}
        process.kill()


def test_an_empty_cgroup_of_the_same_name_is_recreated(group: Cgroup) -> None:
    group.apply({"pids": {"limit": 7}})
    group.create()
    assert group.usage()["pids_limit"] == -1


def test_a_cgroup_in_use_is_not_taken_over(group: Cgroup) -> None:
    with spawn_in(group, "sleep", "60") as process:
        with pytest.raises(Conflict, match="in use"):
            group.create()
        process.kill()


def test_memory_over_the_limit_is_killed_and_counted(group: Cgroup) -> None:
    group.apply({"memory": {"limit": 32 * MIB + 1, "swap": 32 * MIB + 1}})
    assert group.usage()["memory_limit_bytes"] == 32 * MIB  # whole pages
    with spawn_in(group, sys.executable, "-c", "bytearray(256 << 20)") as process:
        assert process.wait() == -signal.SIGKILL
    assert group.oom_kills() == 1


def test_no_more_processes_than_the_limit(group: Cgroup) -> None:
    group.apply({"pids": {"limit": 3}})
    with spawn_in(group, "sh", "-c", "sleep 60 & sleep 60 & sleep 60 & wait") as process:
        assert until(lambda: group.usage()["pids"] == 3)
        assert group.usage()["pids_limit"] == 3
        group.kill_all()
        process.wait()


def test_cpu_time_is_counted_and_capped(group: Cgroup) -> None:
    group.apply({"cpu": {"quota": 20000, "period": 100000, "shares": 512}})
    started = time.monotonic()
    with spawn_in(group, "sh", "-c", "while :; do :; done") as process:
        time.sleep(1)  # ten periods
        used = group.usage()["cpu_ns"] / 1e9 / (time.monotonic() - started)
        process.kill()
    assert 0.05 < used < 0.35, "a fifth of a CPU was allowed"


def test_a_container_can_be_bound_to_one_cpu(group: Cgroup) -> None:
    group.apply({"cpu": {"cpus": "0"}})
    with spawn_in(group, "sleep", "60") as process:
        assert os.sched_getaffinity(process.pid) == {0}
        process.kill()


def test_a_refused_limit_names_file_and_value(group: Cgroup) -> None:
    with pytest.raises(KernelError, match=r"'9999' to /sys/fs/cgroup.*cpuset.cpus"):
        group.apply({"cpu": {"cpus": "9999"}})


def test_a_controller_that_is_not_there_is_named(group: Cgroup) -> None:
    offered = Path("/sys/fs/cgroup/cgroup.controllers").read_text() if V2 else str(group.paths())
    if "hugetlb" in offered:
        pytest.skip("this kernel has a hugetlb controller")
    with pytest.raises(MinidockError, match="hugetlb") as caught:
        group.apply({"hugepageLimits": [{"pageSize": "2MB", "limit": 0}]})
    assert "hugetlb controller" in str(caught.value) + caught.value.hint


@v1_only
def test_memory_that_would_exceed_memory_and_swap_says_what_to_do(group: Cgroup) -> None:
    group.apply({"memory": {"limit": 16 * MIB, "swap": 32 * MIB}})
    with pytest.raises(KernelError, match="memory.limit_in_bytes.*EINVAL") as caught:
        group.apply({"memory": {"limit": 64 * MIB}})
    assert "set both" in caught.value.hint


def test_limits_can_grow_and_shrink_again(group: Cgroup) -> None:
    for limit, total in ((64, 128), (256, 512), (16, 32), (-1, 0), (16, -1)):
        total_bytes = total * MIB if total > 0 else total
        limit_bytes = limit * MIB if limit > 0 else limit
        group.apply({"memory": {"limit": limit_bytes, "swap": total_bytes}})
        assert group.usage()["memory_limit_bytes"] == limit_bytes


@v1_only
def test_default_devices_are_those_of_docker(group: Cgroup) -> None:
    from minidock.kernel.device_cgroup import DOCKER_RULES

    group.apply({"devices": DOCKER_RULES})
    listed = Path(group.paths()["devices"], "devices.list").read_text().splitlines()
    assert sorted(listed) == [
        "b *:* m", "c *:* m", "c 10:200 rwm", "c 136:* rwm", "c 1:3 rwm", "c 1:5 rwm",
        "c 1:7 rwm", "c 1:8 rwm", "c 1:9 rwm", "c 5:0 rwm", "c 5:1 rwm", "c 5:2 rwm",
    ]  # fmt: skip
    group.apply({"devices": [{"allow": True, "access": "rwm"}]})
    assert Path(group.paths()["devices"], "devices.list").read_text() == "a *:* rwm\n"


def test_frozen_processes_stand_still_until_thawed(group: Cgroup) -> None:
    with spawn_in(group, "sh", "-c", "while :; do :; done") as process:
        group.freeze()
        assert group.frozen()
        before = group.usage()["cpu_ns"]
        time.sleep(0.2)  # of which it would have used all
        assert group.usage()["cpu_ns"] - before < 20e6
        group.thaw()
        assert not group.frozen()
        assert until(lambda: group.usage()["cpu_ns"] - before > 50e6)
        process.kill()


def test_a_frozen_cgroup_can_be_killed(group: Cgroup) -> None:
    with spawn_in(group, "sleep", "60") as process:
        group.freeze()
        group.kill_all()
        assert process.wait() == -signal.SIGKILL


def test_a_fork_bomb_does_not_outrun_the_killing(group: Cgroup) -> None:
    bomb = "import os, time\nwhile True:\n    try: os.fork()\n    except OSError: time.sleep(1e-4)"
    group.apply({"pids": {"limit": 60}, "cpu": {"quota": 50000, "period": 100000}})
    with spawn_in(group, sys.executable, "-ISc", bomb) as process:
        assert until(lambda: group.usage()["pids"] > 40)
        group.kill_all()
        assert group.pids() == []
        process.wait()
    group.remove()


def test_cgroups_that_the_container_made_go_with_it(group: Cgroup) -> None:
    nested = [f"{directory}/a/b" for directory in group.directories()]
    for directory in nested:
        os.makedirs(directory)
    tree = group.paths().get("pids") or group.directories()[0]
    with subprocess.Popen(["sleep", "60"]) as process:
        Path(f"{tree}/a/b/cgroup.procs").write_text(str(process.pid))
        assert group.pids() == [process.pid]
        group.kill_all()
        assert process.wait() == -signal.SIGKILL
    group.remove()
    assert not group.exists()


@v2_only
def test_exec_starts_in_the_cgroup_of_init_if_init_created_cgroups(group: Cgroup) -> None:
    """As exec must, in a container that runs systemd."""
    (directory,) = group.directories()
    os.mkdir(f"{directory}/init.scope")
    with subprocess.Popen(["sleep", "60"]) as init:
        Path(f"{directory}/init.scope/cgroup.procs").write_text(str(init.pid))
        Path(f"{directory}/cgroup.subtree_control").write_text("+pids")
        fd = group.fd_for_clone(beside=init.pid)
        assert fd is not None
        assert os.readlink(f"/proc/self/fd/{fd}") == f"{directory}/init.scope"
        os.close(fd)
        group.kill_all()
        init.wait()


def test_processes_outside_of_the_pid_namespace_are_not_taken_for_process_0(group: Cgroup) -> None:
    """The kernel lists them as 0, and kill(0) would end the killer and all beside it."""
    directory = group.directories()[0]
    asked = f"from minidock.kernel import cgroup; print(cgroup.pids_of({directory!r}))"
    with spawn_in(group, "sleep", "60") as sleeper:
        assert until(lambda: sleeper.pid in group.pids())
        done = subprocess.run(
            ["unshare", "--pid", "--fork", sys.executable, "-c", asked],
            capture_output=True, text=True, env=environment(), check=True,
        )  # fmt: skip
    assert done.stdout == "[]\n"


def test_removing_what_is_gone_does_nothing(group: Cgroup) -> None:
    group.remove()
    group.kill_all()
    group.remove()
    assert not group.exists()


def test_a_living_process_keeps_its_cgroup(group: Cgroup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroup, "_PATIENCE_SECONDS", 0.1)
    with spawn_in(group, "sleep", "60") as process:
        with pytest.raises(KernelError, match="EBUSY") as caught:
            group.remove()
        assert str(process.pid) in caught.value.hint
        process.kill()


def test_ten_at_once_share_a_parent_that_others_remove(parent: str) -> None:
    """Each of ten processes makes and removes its own; each tries to remove the parent, too."""

    def work(number: int) -> None:
        for _ in range(5 if is_slow() else 15):
            mine = open_cgroup(parent, f"n{number}")
            mine.create()
            mine.join()
            assert paths_of(os.getpid()) == {f"/{mine.path}"}
            for directory in mine.directories():
                root = directory.removesuffix(mine.path)
                Path(root, "cgroup.procs").write_text("0")
            mine.remove()
            cgroup_tree.remove_parent(parent)

    children = []
    for number in range(10):
        pid = os.fork()
        if pid == 0:
            try:
                work(number)
                os._exit(0)
            except BaseException as error:
                print(error, file=sys.stderr, flush=True)
                os._exit(1)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 10


def test_the_callers_limits_are_left_behind(group: Cgroup, parent: str) -> None:
    group.apply({"pids": {"limit": 10}})

    def enter_and_leave() -> None:
        group.join()
        cgroup_tree.leave_caller_cgroup(parent)

    with subprocess.Popen(["sleep", "60"], preexec_fn=enter_and_leave) as process:
        assert group.pids() == []
        assert paths_of(process.pid) <= {f"/{parent}", f"/{parent}/monitors", "/"}
        process.kill()


# --- what it may use ------------------------------------------------------------------------------


def test_a_larger_share_gets_more_of_the_same_cpu(group: Cgroup, parent: str) -> None:
    other = open_cgroup(parent, "c2")
    other.create()
    group.apply({"cpu": {"shares": 2048, "cpus": "0"}})
    other.apply({"cpu": {"shares": 256, "cpus": "0"}})
    spin = ("sh", "-c", "while :; do :; done")
    with spawn_in(group, *spin), spawn_in(other, *spin):
        before = group.usage()["cpu_ns"], other.usage()["cpu_ns"]
        assert until(lambda: other.usage()["cpu_ns"] - before[1] > 0.3e9, seconds=30)
        more, less = group.usage()["cpu_ns"] - before[0], other.usage()["cpu_ns"] - before[1]
    other.remove()
    assert more > 3 * less, "8 to 1 was asked for"


@pytest.mark.alone
def test_memory_beyond_the_limit_goes_to_swap_as_far_as_allowed(
    group: Cgroup, swap_file: Path
) -> None:
    touch = "data = bytearray(40 << 20)\nfor at in range(0, len(data), 4096): data[at] = 1"
    group.apply({"memory": {"limit": 24 * MIB, "swap": 24 * MIB}})
    with spawn_in(group, sys.executable, "-ISc", touch) as process:
        assert process.wait() == -signal.SIGKILL
    group.create()
    group.apply({"memory": {"limit": 24 * MIB, "swap": 96 * MIB}})
    with spawn_in(group, sys.executable, "-ISc", touch) as process:
        assert process.wait() == 0
    assert group.oom_kills() == 0


@pytest.fixture
def swap_file(store: Store) -> Iterator[Path]:
    """64 MiB of swap for the machine."""
    if not cgroup.supports_swap_limit():
        pytest.skip("this kernel does not count swap")
    path = Path(store.root, "swap")
    path.touch(0o600)
    subprocess.run(
        ["dd", "if=/dev/zero", f"of={path}", "bs=1M", "count=64", "status=none"], check=True
    )
    subprocess.run(["mkswap", "-q", path], check=True, stdout=subprocess.DEVNULL)
    if subprocess.run(["swapon", path], check=False).returncode != 0:
        pytest.skip("this kernel does not swap to a file here")
    yield path
    subprocess.run(["swapoff", path], check=True)


def test_writing_to_a_device_is_slowed_down(group: Cgroup, store: Store) -> None:
    """2 MiB past the page cache, at 4 MiB a second."""
    disk = disk_of(store.root)
    if disk is None:
        pytest.skip("this kernel has no disk below the store's file system")
    rate = {"major": disk.major, "minor": disk.minor, "rate": 4 * MIB}
    group.apply({"blockIO": {"throttleWriteBpsDevice": [rate]}})
    file = f"of={store.root}/written"
    line = ("dd", "if=/dev/zero", file, "bs=256k", "count=8", "oflag=direct")
    started = time.monotonic()
    with spawn_in(group, *line) as process:
        assert process.wait() == 0
    assert time.monotonic() - started > 0.4


# --- cgroup v2's own rules ------------------------------------------------------------------------


@v2_only
def test_no_process_lives_beside_containers(group: Cgroup, parent: str) -> None:
    """The kernel lets none in where controllers are handed down."""
    with Spawned(["sleep", "60"]) as process, pytest.raises(OSError, match="busy"):
        Path(f"/sys/fs/cgroup/{parent}/cgroup.procs").write_text(str(process.pid))


@v2_only
def test_processes_of_a_home_move_to_a_leaf_and_those_of_strangers_stay(group: Cgroup) -> None:
    (directory,) = group.directories()
    with spawn_in(group, "sleep", "60") as process:
        with pytest.raises(KernelError, match="EBUSY") as caught:
            cgroup_delegation.enable_controllers(["memory", "pids"], directory)
        assert "leaf" in caught.value.hint
        assert paths_of(process.pid) == {f"/{group.path}"}
        cgroup_delegation.enable_controllers(["pids", "memory"], directory, move_out=True)
        assert paths_of(process.pid) == {f"/{group.path}/{cgroup_delegation.LEAF}"}
    handed = Path(directory, "cgroup.subtree_control").read_text().split()
    assert sorted(handed) == ["memory", "pids"]


@v2_only
def test_a_limit_of_the_callers_own_is_taken_by_name(group: Cgroup) -> None:
    group.apply({"unified": {"memory.high": str(8 * MIB), "cpu.weight": "7"}})
    (directory,) = group.directories()
    assert Path(directory, "memory.high").read_text() == f"{8 * MIB}\n"
    assert Path(directory, "cpu.weight").read_text() == "7\n"
