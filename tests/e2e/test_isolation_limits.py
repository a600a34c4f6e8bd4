"""What a container may use up, as the kernel counts it; its caller's limits are not its."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from minidock.engine.container.cgroups import cgroup_of
from minidock.engine.container.lookup import find
from minidock.engine.lifecycle import pause
from minidock.errors import Conflict
from minidock.kernel import cgroup, cgroup_tree
from minidock.paths import Store
from support import attack
from support.command import Minidock
from support.machine import Disk, disk_of
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
    bomb = "b() { b | b & }; sleep 600 & (b) & wait"  # a shell that cannot fork ends: not this one
    line = ("--name", "box", "--pids-limit", "30", busybox_image, "sh", "-c", bomb)
    minidock.ok("run", "-d", *line)
    deadline = time.monotonic() + patience(10)
    while "can't fork" not in minidock("logs", "--tail", "9", "box").stderr:
        assert time.monotonic() < deadline
    group = cgroup_of(store, find(store, "box").id)
    assert 1 <= len(group.pids()) <= 30
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


def test_a_device_that_was_not_given_cannot_be_opened_though_its_node_can_be_made(
    minidock: Minidock, busybox_image: str
) -> None:
    """The kernel's log, by a node of our own: "given" is who was allowed to read it."""
    read = "mknod /log c 1 11 && echo made; exec 3</log && echo read; exec 3>/log && echo written"
    line = ("--cap-add", "SYSLOG", busybox_image, "sh", "-c", f"{{ {read}; }} 2>&1")
    refused = minidock("run", "--rm", *line)
    assert refused.stdout.split()[0] == "made" and "not permitted" in refused.stdout
    given = minidock("run", "--rm", "--device", "/dev/kmsg:/dev/given:r", *line)
    assert given.stdout.split()[:2] == ["made", "read"] and "not permitted" in given.stdout
    assert minidock.ok("run", "--rm", "--privileged", *line).split() == ["made", "read", "written"]


def readable_disk(store: Store) -> Disk:
    """The disk that the store is on, where the kernel lets root read it."""
    disk = disk_of(store.root)
    try:
        assert disk is not None
        with open(f"/dev/{disk.name}", "rb") as file:
            assert len(file.read(1)) == 1
    except (AssertionError, OSError):
        pytest.skip("this kernel has no disk here that root may read")
    return disk


def test_a_disk_cannot_be_read_by_a_node_of_ones_own(
    minidock: Minidock, busybox_image: str, store: Store
) -> None:
    disk = readable_disk(store)
    read = f"mknod /disk b {disk.major} {disk.minor} && head -c 1 /disk | wc -c"
    line = (busybox_image, "sh", "-c", read)
    refused = minidock("run", "--rm", *line)
    assert "Operation not permitted" in refused.stderr, str(refused)
    device = ("--device", f"/dev/{disk.name}:/dev/given:r")
    assert minidock.ok("run", "--rm", *device, *line) == "1"


def test_a_device_is_read_no_faster_than_allowed(
    minidock: Minidock, busybox_image: str, store: Store
) -> None:
    """2 MiB at 4 MiB a second."""
    path = f"/dev/{readable_disk(store).name}"
    flags = ("--device", f"{path}:{path}:r", "--device-read-bps", f"{path}:4mb")
    read = ("dd", f"if={path}", "of=/dev/null", "bs=256k", "count=8", "iflag=direct")
    began = time.monotonic()
    minidock.ok("run", "--rm", *flags, busybox_image, *read)
    assert time.monotonic() - began > 0.4


def test_rates_of_a_device_are_the_kernel_s(
    minidock: Minidock, busybox_image: str, store: Store
) -> None:
    disk = disk_of(store.root)
    if disk is None:
        pytest.skip("this kernel has no disk below the store's file system")
    path, at = f"/dev/{disk.name}", f"{disk.major}:{disk.minor}"
    flags = ("--device-read-bps", f"{path}:4mb", "--device-write-iops", f"{path}:50")
    files = "io.max" if V2 else "blkio/blkio.throttle.read_bps_device"
    look = ["cat", f"/sys/fs/cgroup/{files}"]
    look += [] if V2 else ["/sys/fs/cgroup/blkio/blkio.throttle.write_iops_device"]
    seen = minidock.ok("run", "--rm", *flags, busybox_image, *look).splitlines()
    v2 = [f"{at} rbps={4 << 20} wbps=max riops=max wiops=50"]
    assert seen == (v2 if V2 else [f"{at} {4 << 20}", f"{at} 50"])


def test_a_weight_of_block_io_is_set_or_its_absence_named(
    minidock: Minidock, busybox_image: str
) -> None:
    weight = _setting("blkio/blkio.weight", "io.weight")
    bfq = _setting("blkio/blkio.bfq.weight", "io.bfq.weight")
    line = ("run", "--rm", "--blkio-weight", "500", busybox_image, "sh", "-c")
    seen = minidock(*line, f"cat {weight} 2>/dev/null || cat {bfq}")
    if seen.code == 0:
        assert seen.stdout.split()[-1] == ("4950" if V2 else "500")
    else:  # a kernel with neither io.cost nor BFQ
        assert seen.code == 125 and "weight" in seen.stderr, str(seen)


def test_a_device_that_is_not_there_has_no_limit(minidock: Minidock, busybox_image: str) -> None:
    """Docker's engine says so at the start; its client makes 127 of the words."""
    limit = ("--device-read-bps", "/dev/none:1mb", busybox_image, "true")
    seen = minidock("run", "--name", "box", *limit)
    assert seen.code == 127 and "stat /dev/none: no such file or directory" in seen.stderr
    told = minidock.ok("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "box")
    assert told == "created 128"
    minidock.ok("rm", "box")
    assert minidock("run", "--rm", *limit).code == 127
    assert minidock.ok("ps", "-aq") == ""


def test_processes_of_a_paused_container_stand_still(
    minidock: Minidock, busybox_image: str, store: Store
) -> None:
    minidock.ok("run", "-d", "--name", "box", busybox_image, "sh", "-c", "while :; do :; done")
    group = cgroup_of(store, find(store, "box").id)
    minidock.ok("pause", "box")
    before = group.usage()["cpu_ns"]
    time.sleep(0.3)  # of which it would have used all
    assert group.usage()["cpu_ns"] - before < 20e6
    minidock.ok("unpause", "box")
    deadline = time.monotonic() + patience(5)
    while group.usage()["cpu_ns"] - before < 50e6:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    minidock.ok("rm", "-f", "box")
    assert not group.exists()


def test_only_one_of_two_pauses_a_container(
    minidock: Minidock, busybox_image: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a commit would take somebody's pause for its own, and end it."""
    minidock.ok("run", "-d", "--name", "box", busybox_image, "sleep", "600")
    seen = find(store, "box")
    minidock.ok("pause", "box")
    monkeypatch.setattr(pause, "find_running", lambda store, reference: seen)
    with pytest.raises(Conflict, match="already paused"):
        pause.pause(store, "box")
    minidock.ok("rm", "-f", "box")


@pytest.mark.skipif(cgroup_tree.takes_slices(), reason="this kernel's cgroups belong to systemd")
def test_cgroup_parent_is_a_path_from_the_root(
    minidock: Minidock, busybox_image: str, store: Store
) -> None:
    parent = f"{store.cgroup_parent}-elsewhere"
    line = ("--cgroup-parent", f"/{parent}/deeper", "--pids-limit", "9", busybox_image)
    minidock.ok("run", "-d", "--name", "box", *line, "sleep", "600")
    box = find(store, "box")
    directory = Path(TREE, parent, "deeper", box.id)
    assert (directory / "cgroup.procs").read_text().split() == [str(box.state["Pid"])]
    assert (directory / "pids.max").read_text() == "9\n"
    minidock.ok("rm", "-f", "box")
    assert not directory.exists()
    for place in Path(TREE if V2 else "/sys/fs/cgroup").glob(parent if V2 else f"*/{parent}"):
        (place / "deeper").rmdir()  # as with Docker, a parent stays
        place.rmdir()


@pytest.fixture
def tight_group() -> Iterator[Path]:
    """A cgroup for a caller that may have 12 processes."""
    path = Path(f"{TREE}/isolation-{os.getpid()}")
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
    attack.run_as(minidock, _enter(tight_group), *line)
    deadline = time.monotonic() + patience(5)
    while "started 20" not in minidock.ok("logs", "box") and time.monotonic() < deadline:
        time.sleep(0.05)
    box = find(store, "box")
    assert len(cgroup_of(store, box.id).pids()) == 21
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
        "from minidock.kernel import cgroup_tree\n"
        "cgroup_tree.leave_caller_cgroup = lambda *a, **k: None\n"
    )
    attack.without(minidock, stay, "run", "-d", "--name", "box", busybox_image, "sleep", "60")
    monitor = find(store, "box").monitor_pid
    assert str(monitor) in (tight_group / "cgroup.procs").read_text().split()
    minidock.ok("rm", "-f", "box")
