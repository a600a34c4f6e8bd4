"""Other engines drive minidock-runtime in runc's place: a real dockerd, and podman."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conftest import session_directory
from minidock.paths import Store
from minidock.runtime import seal
from support import docker_daemon, podman_engine, runtime
from support.docker_daemon import Docker
from support.patience import patience

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.xdist_group("engines")]


class Podman:
    """podman on minidock-runtime, with all that it keeps in a directory and a cgroup of its own."""

    def __init__(self, where: Path, program: Path) -> None:
        self.cgroup_parent = f"/{where.name}"
        self._base = [
            *podman_engine.command(where), "--cgroup-manager", "cgroupfs",
            "--runtime", str(program), "--storage-driver", "vfs",
        ]  # fmt: skip

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self._base, *words], capture_output=True, text=True, check=False,
            timeout=patience(120), stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`podman run`, without a network."""
        return self("run", "--network=none", f"--cgroup-parent={self.cgroup_parent}", *words)


@pytest.fixture(scope="module")
def program() -> Iterator[Path]:
    """Our runtime as a program that engines can start, with a place of its own for the seal."""
    home = Path(tempfile.mkdtemp(prefix="engines", dir=session_directory()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINIDOCK_ROOT", str(home / "store"))
        path = runtime.launcher(home)
    yield path
    store = Store(str(home / "store"))
    seal.unseal(store.run)
    if os.path.isdir(store.run):
        os.rmdir(store.run)


@pytest.fixture
def docker(program: Path, require: Callable[[str], str]) -> Docker:
    """A dockerd that knows our runtime by the name "ours"."""
    require("dockerd")
    return docker_daemon.ensure(
        session_directory(), "runtimes", options=(f"--add-runtime=ours={program}",)
    )


@pytest.fixture
def run(docker: Docker, busybox_tar: Path) -> Iterator[Callable[..., str]]:
    """`docker run` on our runtime; returns stdout."""
    docker.ok("import", "-", "plain", stdin=busybox_tar.read_bytes())
    yield lambda *words: docker.ok("run", "--network=none", "--runtime=ours", *words)
    docker.remove_all_containers()


def test_docker_runs_a_container_on_it(run: Callable[..., str], docker: Docker) -> None:
    assert run("--rm", "plain", "echo", "hello") == "hello"
    flags = "-m 64m --pids-limit 50 --read-only --tmpfs /x -u 5:6 --cap-drop ALL -h box".split()
    script = "id -u; hostname; cat /proc/self/status | grep CapBnd; touch /x/y && echo written"
    told = run("--rm", *flags, "--tmpfs=/x:mode=1777", "plain", "sh", "-c", script).splitlines()
    assert told == ["5", "box", "CapBnd:\t0000000000000000", "written"]


def test_docker_drives_a_containers_whole_life(run: Callable[..., str], docker: Docker) -> None:
    run("-d", "--name=life", "plain", "sleep", "600")
    told = docker.ok("exec", "life", "hostname")
    assert told == docker.ok("inspect", "-f", "{{.Config.Hostname}}", "life")
    assert docker("exec", "life", "sh", "-c", "exit 4").returncode == 4
    assert docker("exec", "life", "nonsense").returncode in (126, 127)  # by Docker's version
    assert docker.ok("exec", "-t", "life", "tty").strip() == "/dev/pts/0"
    docker.ok("pause", "life")
    assert docker.ok("inspect", "-f", "{{.State.Status}}", "life") == "paused"
    docker.ok("unpause", "life")
    assert "sleep 600" in docker.ok("top", "life")
    docker.ok("update", "--pids-limit", "77", "life")
    docker.ok("restart", "-t", "0", "life")
    docker.ok("kill", "life")
    assert docker.ok("wait", "life") == "137"


def test_docker_tells_what_cannot_be_executed(docker: Docker, run: Callable[..., str]) -> None:
    base = ["run", "--rm", "--network=none", "--runtime=ours", "plain"]
    assert docker(*base, "nonsense").returncode == 127
    assert docker(*base, "/etc").returncode == 126


@pytest.fixture
def podman(program: Path, busybox_tar: Path, require: Callable[[str], str]) -> Iterator[Podman]:
    require("podman")
    where = Path(tempfile.mkdtemp(prefix="podman", dir="/var/tmp"))
    made = Podman(where, program)
    assert made("import", str(busybox_tar), "plain").returncode == 0
    yield made
    made("rm", "--all", "--force", "-t", "0")
    made("rmi", "--all", "--force")
    shutil.rmtree(where, ignore_errors=True)
    podman_engine.remove_cgroups(where.name)


def test_podman_drives_a_containers_whole_life(podman: Podman) -> None:
    assert podman.run("--rm", "plain", "echo", "hello").stdout == "hello\n"
    assert podman.run("--rm", "plain", "sh", "-c", "exit 7").returncode == 7
    assert podman.run("--rm", "plain", "nonsense").returncode == 127
    assert podman.run("--rm", "plain", "/etc").returncode == 126
    terminal = podman.run("--rm", "-t", "plain", "tty")
    assert terminal.stdout.strip() == "/dev/pts/0"
    started = podman.run("-d", "--name=life", "plain", "sleep", "600")
    assert started.returncode == 0
    pids = podman("inspect", "-f", "{{.State.Pid}} {{.State.ConmonPid}}", "life").stdout.split()
    for pid in pids:  # not where all podmans of the machine have theirs
        groups = Path(f"/proc/{pid}/cgroup").read_text()
        assert podman.cgroup_parent in groups and "libpod_parent" not in groups
    assert podman("exec", "life", "sh", "-c", "exit 4").returncode == 4
    assert podman("pause", "life").returncode == 0
    assert podman("unpause", "life").returncode == 0
    assert podman("stop", "-t", "0", "life").returncode == 0
    assert podman("start", "life").returncode == 0
    assert podman("kill", "life").returncode == 0
    told = json.loads(podman("inspect", "life").stdout)
    assert told[0]["OCIRuntime"].endswith("minidock-runtime")
