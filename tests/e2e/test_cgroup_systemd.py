"""Containers where systemd owns the cgroup tree: it leaves their limits alone, and shows them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from minidock.engine.container.lookup import find
from minidock.kernel import cgroup, cgroup_delegation, cgroup_tree
from minidock.paths import Store
from support.command import Minidock
from support.patience import patience
from support.runtime import Bundle, Runtime, minidock_runtime

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not cgroup.is_v2(), reason="this kernel has cgroup v1"),
    pytest.mark.skipif(
        not os.path.isdir("/run/systemd/system"), reason="this kernel runs no systemd"
    ),
]

TREE = Path("/sys/fs/cgroup")
UNIT = "minidock-containers.service"
LIMITS = ("--cpus", "0.5", "-m", "64m", "--pids-limit", "9", "--cpuset-cpus", "0", "-c", "512")
FILES = {
    "cpu.max": "50000 100000",
    "cpu.weight": "20",
    "memory.max": str(64 << 20),
    "pids.max": "9",
    "cpuset.cpus": "0",
    "io.weight": "default 100",
}
WHAT_UNSETTLES_SYSTEMD = """
systemctl daemon-reload
systemd-run -q --wait -p CPUWeight=50 -p IOWeight=20 true
systemd-run -q --wait -p CPUQuota=50% -p AllowedCPUs=0 true
systemctl set-property --runtime systemd-journald.service CPUWeight=20
systemctl set-property --runtime systemd-journald.service CPUWeight=
systemctl set-property --runtime minidock.slice CPUWeight=77
systemctl set-property --runtime minidock-containers.service MemoryMax=1G
systemctl set-property --runtime minidock-containers.service MemoryMax=infinity
systemctl daemon-reexec
systemctl daemon-reload
""".strip().splitlines()


def systemctl(*arguments: str) -> str:
    return _run("systemctl", *arguments)


def _run(*command: str) -> str:
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=patience(60))
    return done.stdout.strip()


def _directory(store: Store, ref: str) -> Path:
    path = Path(f"/proc/{find(store, ref).state['Pid']}/cgroup").read_text().strip()
    return TREE / path.removeprefix("0::/")


def _limits(directory: Path) -> dict[str, str]:
    return {file: (directory / file).read_text().strip() for file in FILES}


@pytest.fixture
def box(minidock: Minidock, busybox_image: str, store: Store) -> Iterator[Path]:
    """The cgroup of a container with limits."""
    minidock.ok("run", "-d", "--name", "box", *LIMITS, busybox_image, "sleep", "600")
    yield _directory(store, "box")
    minidock("rm", "-f", "box")


@pytest.mark.alone
def test_systemd_takes_no_limit_back_from_a_living_container(box: Path) -> None:
    assert _limits(box) == FILES
    for command in WHAT_UNSETTLES_SYSTEMD:
        _run(*command.split())
        assert _limits(box) == FILES, command
    assert systemctl("is-active", UNIT) == "active"


def test_systemd_shows_containers_as_part_of_a_unit_that_it_delegates(
    box: Path, store: Store
) -> None:
    properties = "Delegate=yes OOMPolicy=continue TasksMax=infinity Slice=minidock.slice"
    shown = systemctl("show", UNIT, "-p", "Delegate,OOMPolicy,TasksMax,Slice").split()
    assert sorted(shown) == sorted(properties.split())
    tree = _run("systemd-cgls", "--no-pager", "--full", "-u", UNIT)
    assert box.name in tree and "sleep 600" in tree
    assert box.parent.parent == TREE / "minidock.slice" / UNIT


def test_one_containers_want_of_memory_stops_no_other(
    box: Path, minidock: Minidock, busybox_image: str
) -> None:
    line = ("--name", "greedy", "-m", "16m", "--memory-swap", "16m", busybox_image)
    assert minidock("run", *line, "tail", "/dev/zero").code == 137
    assert minidock.ok("inspect", "-f", "{{.State.OOMKilled}}", "greedy") == "true"
    assert systemctl("is-active", UNIT) == "active"
    assert minidock.ok("exec", "box", "echo", "alive") == "alive"


@pytest.mark.alone
def test_stopping_the_unit_ends_containers_and_the_next_one_starts_it_again(
    box: Path, minidock: Minidock, busybox_image: str, store: Store
) -> None:
    systemctl("stop", UNIT)
    assert not box.exists()
    assert minidock.ok("inspect", "-f", "{{.State.Running}}", "box") == "false"
    limit = minidock.ok(
        "run", "--rm", "-m", "32m", busybox_image, "cat", "/sys/fs/cgroup/memory.max"
    )
    assert limit == str(32 << 20)
    assert systemctl("is-active", UNIT) == "active"


def test_cgroup_parent_is_a_slice(minidock: Minidock, busybox_image: str, store: Store) -> None:
    """With Docker's systemd driver, too; and it refuses other names in these words."""
    name = f"mdt-{store.cgroup_parent.rpartition('-')[2]}.slice"
    refused = minidock("run", "--rm", "--cgroup-parent", "/x", busybox_image, "true")
    assert 'should be a valid slice named as "xxx.slice"' in refused.stderr
    line = ("--cgroup-parent", name, "-m", "32m", busybox_image, "sleep", "600")
    try:
        minidock.ok("run", "-d", "--name", "box", *line)
        directory = _directory(store, "box")
        assert directory.is_relative_to(TREE / "mdt.slice" / name)
        assert (directory / "memory.max").read_text() == f"{32 << 20}\n"
        minidock.ok("pause", "box")
        minidock.ok("unpause", "box")
        minidock.ok("rm", "-f", "box")
        assert not directory.exists()
    finally:
        systemctl("stop", cgroup_delegation.unit_of(name))
        systemctl("stop", name)


def test_the_first_containers_of_a_slice_may_come_at_once(store: Store) -> None:
    """The unit's own process enters its cgroup last, and may not find it divided already."""
    name = f"mdt-{store.cgroup_parent.rpartition('-')[2]}.slice"
    parent = cgroup_tree.home_of(store.cgroup_parent, slice_name=name)
    groups = [cgroup_tree.open_cgroup(parent, f"n{number}") for number in range(4)]
    children = []
    try:
        for group in groups:
            pid = os.fork()
            if pid == 0:
                try:
                    group.create()
                    os._exit(0)
                finally:
                    os._exit(1)
            children.append(pid)
        assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 4
        assert all(group.exists() for group in groups)
        assert systemctl("is-active", cgroup_delegation.unit_of(name)) == "active"
    finally:
        systemctl("stop", cgroup_delegation.unit_of(name))
        systemctl("stop", name)
    assert not any(group.exists() for group in groups)


@pytest.fixture
def runtime(
    tmp_path: Path, busybox_tar: Path, store: Store, require: Callable[[str], str]
) -> Runtime:
    require("runc")
    return Runtime(minidock_runtime(), tmp_path / "state", Bundle(tmp_path / "b", busybox_tar))


def test_a_bundle_without_cgroups_path_is_below_the_unit(runtime: Runtime) -> None:
    config = runtime.bundle.config
    config["process"]["args"] = ["sleep", "600"]
    config["linux"]["resources"]["memory"] = {"limit": 32 << 20}
    (runtime.bundle.directory / "config.json").write_text(json.dumps(config))
    name = f"mdt-{os.getpid()}"
    directory = TREE / "minidock.slice" / UNIT / f"minidock-runtime-{name}"
    try:
        runtime.ok("run", "--detach", name)
        systemctl("daemon-reload")
        assert (directory / "memory.max").read_text() == f"{32 << 20}\n"
        assert (directory / "cgroup.procs").read_text().split() == [str(runtime.state(name)["pid"])]
    finally:
        runtime.ok("delete", "--force", name)
    assert not directory.exists()


def test_a_systemd_unit_as_cgroupspath_is_refused_with_a_hint(runtime: Runtime) -> None:
    def name_a_unit(config: dict[str, Any]) -> None:
        config["linux"]["cgroupsPath"] = "system.slice:docker:c1"

    runtime.bundle.write("true", change=name_a_unit)
    refused = runtime("create", "c1")
    assert refused.returncode != 0
    assert "names a systemd unit" in refused.stderr and "cgroupfs" in refused.stderr
