"""Cgroups on this kernel: real processes, real limits, and what the kernel says of both."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from minidock.errors import Conflict, KernelError, UsageError
from minidock.kernel import cgroup
from minidock.kernel.cgroup import Cgroup, open_cgroup
from minidock.paths import Store

pytestmark = pytest.mark.root
MIB = 1 << 20
v1_only = pytest.mark.skipif(cgroup.is_v2(), reason="this kernel has cgroup v2")


@pytest.fixture
def group(store: Store) -> Iterator[Cgroup]:
    made = open_cgroup(store.cgroup_parent, "c1")
    made.create()
    yield made
    made.kill_all()
    made.remove()
    cgroup.remove_parent(store.cgroup_parent)


def spawn_in(group: Cgroup, *command: str) -> subprocess.Popen[bytes]:
    """Start a command that joins the cgroup by itself before it is executed."""
    return subprocess.Popen(
        command, preexec_fn=group.join, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def until(condition: Callable[[], bool], seconds: float = 5) -> bool:
    deadline = time.monotonic() + seconds
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


def test_an_empty_cgroup_of_the_same_name_is_made_anew(group: Cgroup) -> None:
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
        time.sleep(1)
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


@v1_only
def test_a_controller_that_is_not_mounted_is_named(group: Cgroup) -> None:
    if "hugetlb" in group.paths():
        pytest.skip("this kernel has hugetlb mounted")
    with pytest.raises(UsageError, match="hugetlb controller is not mounted") as caught:
        group.apply({"hugepageLimits": [{"pageSize": "2MB", "limit": 0}]})
    assert "mount -t cgroup -o hugetlb" in caught.value.hint


@v1_only
def test_memory_that_would_exceed_memory_and_swap_says_what_to_do(group: Cgroup) -> None:
    group.apply({"memory": {"limit": 16 * MIB, "swap": 32 * MIB}})
    with pytest.raises(KernelError, match="memory.limit_in_bytes.*EINVAL") as caught:
        group.apply({"memory": {"limit": 64 * MIB}})
    assert "set both" in caught.value.hint


@v1_only
def test_limits_can_grow_and_shrink_again(group: Cgroup) -> None:
    for limit, total in ((64, 128), (256, 512), (16, 32), (-1, 0), (16, -1)):
        total_bytes = total * MIB if total > 0 else total
        limit_bytes = limit * MIB if limit > 0 else limit
        group.apply({"memory": {"limit": limit_bytes, "swap": total_bytes}})
        assert group.usage()["memory_limit_bytes"] == limit_bytes


@v1_only
def test_default_devices_are_those_of_docker(group: Cgroup) -> None:
    from minidock.kernel.device import DOCKER_RULES

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
        time.sleep(0.2)
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
    bomb = "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass"
    group.apply({"pids": {"limit": 60}, "cpu": {"quota": 50000, "period": 100000}})
    with spawn_in(group, sys.executable, "-c", bomb) as process:
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


def test_a_late_process_is_born_where_init_is_if_init_made_cgroups(group: Cgroup) -> None:
    """As exec must, in a container that runs systemd."""
    if not cgroup.is_v2():
        pytest.skip("this kernel has cgroup v1")
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


def test_ten_at_once_share_a_parent_that_others_remove(store: Store) -> None:
    """Each of ten processes makes and removes its own; each tries to remove the parent, too."""

    def work(number: int) -> None:
        for _ in range(15):
            mine = open_cgroup(store.cgroup_parent, f"n{number}")
            mine.create()
            mine.join()
            assert paths_of(os.getpid()) == {f"/{mine.path}"}
            for directory in mine.directories():
                root = directory.removesuffix(mine.path)
                Path(root, "cgroup.procs").write_text("0")
            mine.remove()
            cgroup.remove_parent(store.cgroup_parent)

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
    cgroup.remove_parent(store.cgroup_parent)


def test_the_callers_limits_are_left_behind(group: Cgroup, store: Store) -> None:
    parent = store.cgroup_parent
    group.apply({"pids": {"limit": 10}})

    def enter_and_leave() -> None:
        group.join()
        cgroup.leave_caller_cgroup(parent)

    with subprocess.Popen(["sleep", "60"], preexec_fn=enter_and_leave) as process:
        assert group.pids() == []
        assert paths_of(process.pid) <= {f"/{parent}", f"/{parent}/monitors", "/"}
        process.kill()
