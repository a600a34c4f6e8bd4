"""minidock and a real dockerd on one machine: both publish, both answer, and stay apart."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from minidock.engine.network import lookup, networks
from minidock.paths import Store
from support import docker_daemon
from support.lab import HOST, NEIGHBOUR, Lab, Place, is_refused, machine_of_its_own, seen_from, sh
from support.lab import serving as served_in
from support.patience import patience

pytestmark = [pytest.mark.root, pytest.mark.slow]


@pytest.fixture
def lab() -> Iterator[Lab]:
    with machine_of_its_own() as made:
        yield made


class DockerContainer(Place):
    """A container of dockerd's, as a place."""

    def __init__(self, docker: Callable[..., str], *publish: str) -> None:
        ports = [argument for port in publish for argument in ("-p", port)]
        self.id = docker("run", "-d", *ports, "bb", "sleep", "600")
        self.pid = int(docker("inspect", "-f", "{{.State.Pid}}", self.id))
        self.address = docker("inspect", "-f", "{{.NetworkSettings.IPAddress}}", self.id)


@pytest.fixture
def start_docker(lab: Lab, require: Callable[[str], str]) -> Iterator[Callable[[], object]]:
    """Starts a dockerd on the lab's machine, with docker0 and its rules; returns its client."""
    require("dockerd")
    busybox = require("busybox")
    home = Path(tempfile.mkdtemp(prefix="dk", dir="/var/tmp"))
    socket = f"unix://{home}/sock"
    started: list[subprocess.Popen[bytes]] = []

    def docker(*arguments: str) -> str:
        done = subprocess.run(
            ["docker", "-H", socket, *arguments], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def start() -> Callable[..., str]:
        options = [f"--data-root={home}/data", f"--pidfile={home}/pid"]
        with open(home / "log", "wb") as log:
            daemon = ["dockerd", f"--host={socket}", "--cgroup-parent=/docker-lab", *options]
            command = docker_daemon.apart(*daemon, network=False)  # that is the lab's
            started.append(subprocess.Popen(command, stdout=log, stderr=log))
        deadline = time.monotonic() + patience(60)
        while subprocess.run(["docker", "-H", socket, "version"], capture_output=True).returncode:
            assert started[0].poll() is None and time.monotonic() < deadline, home / "log"
            time.sleep(0.1)
        with tarfile.open(home / "bb.tar", "w") as tar:
            tar.add(busybox, "bin/sleep")
        docker("import", f"{home}/bb.tar", "bb")
        return docker

    yield start
    if started:
        for container in docker("ps", "-aq").split():
            docker("rm", "-f", container)
        started[0].terminate()
        started[0].wait()
    shutil.rmtree(home)
    for directory in Path("/sys/fs/cgroup").glob("*/docker-lab"):
        _remove_when_empty(directory)


def _remove_when_empty(directory: Path, seconds: float = 10) -> None:
    """Remove a cgroup; it is busy while the last of its processes is on its way out."""
    deadline = time.monotonic() + patience(seconds)
    while directory.exists():
        try:
            os.rmdir(directory)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _both_answer(lab: Lab, ours: Place, theirs: Place) -> None:
    with served_in(ours, 80) as our_server, served_in(theirs, 80) as their_server:
        for client, address in ((lab.host, "127.0.0.1"), (lab.host, HOST), (lab.neighbour, HOST)):
            assert seen_from(client, address, 8090, our_server)
            assert seen_from(client, address, 8091, their_server)
        assert seen_from(lab.host, "::1", 8090, our_server)
        assert seen_from(ours, HOST, 8091, their_server)
        assert seen_from(theirs, HOST, 8090, our_server)
    with served_in(lab.neighbour, 80) as world:
        assert seen_from(ours, NEIGHBOUR, 80, world) == HOST
        assert seen_from(theirs, NEIGHBOUR, 80, world) == HOST


def _unpublished_stay_apart(ours: Place, our_address: str, theirs: DockerContainer) -> None:
    with served_in(ours, 81), served_in(theirs, 81):
        assert is_refused(ours, theirs.address, 81)
        assert is_refused(theirs, our_address, 81)


def test_both_publish_and_both_answer_in_either_order(
    lab: Lab, store: Store, start_docker: Callable[[], Callable[..., str]]
) -> None:
    early = lab.container(store, "8090:80")
    docker = start_docker()  # chooses another subnet, and puts its chains before ours
    theirs = DockerContainer(docker, "8091:80")
    sh("iptables -P FORWARD DROP")  # as dockerd leaves it where it switched forwarding on itself
    _both_answer(lab, early, theirs)
    _unpublished_stay_apart(early, early.address, theirs)
    early.stop()

    docker("network", "create", "another")
    late = lab.container(store, "8090:80")
    _both_answer(lab, late, theirs)
    _unpublished_stay_apart(late, late.address, theirs)
    late.stop()
    networks.teardown(store)
    assert sh("cat /proc/sys/net/ipv4/ip_forward") == "1\n"  # Docker still needs it
    with served_in(theirs, 80) as server:
        assert seen_from(lab.neighbour, HOST, 8091, server)


def test_inspect_has_dockers_shape(
    lab: Lab, store: Store, start_docker: Callable[[], Callable[..., str]]
) -> None:
    docker = start_docker()
    theirs, ours = DockerContainer(docker, "8091:80"), lab.container(store, "8090:80")

    def shape(value: object) -> object:
        if isinstance(value, dict):
            return {
                "container" if len(key) == 64 else key: shape(inner) for key, inner in value.items()
            }
        return [shape(inner) for inner in value] if isinstance(value, list) else type(value)

    for name in ("bridge", "host", "none"):
        expected = json.loads(docker("network", "inspect", name))[0]
        found = lookup.inspect(store, name)
        assert shape(found) == shape(expected)
        assert lookup.inspect(store, found["Id"][:12]) == found
    settings = json.loads(docker("inspect", theirs.id))[0]["NetworkSettings"]
    assert shape(ours.endpoint) == shape(settings["Networks"]["bridge"])
    assert found["Driver"] == "null"
