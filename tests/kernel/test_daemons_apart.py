"""The tests' own dockerd and the machine's Docker: that stays as it was."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support import docker_daemon, machine
from support.lab import machine_of_its_own, sh

pytestmark = [pytest.mark.root, pytest.mark.slow]


@pytest.fixture
def docker0() -> Iterator[None]:
    """A machine with docker0 and rules of Docker's, as a dockerd that works there has made them."""
    with machine_of_its_own():
        sh("ip link add docker0 type bridge; ip address add 172.17.0.1/16 dev docker0")
        for line in ("-N DOCKER", "-N DOCKER-USER", "-I FORWARD -j DOCKER-USER"):
            sh(f"iptables --wait {line}")
        sh("iptables --wait -t nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE")
        yield


def seen() -> dict[str, set[str]]:
    """What a dockerd may change: the kernel's links and rules, and the files that all share."""
    shared = ("/run/docker", "/run/containerd", "/run/runc", "/var/lib/docker")
    return {
        "links": machine.links(),
        "addresses": set(sh("ip -o -4 address").splitlines()),
        "rules": machine.firewall_rules(),
        "files": {path for path in shared if os.path.exists(path)},
        "settings": machine.settings(),
    }


@pytest.mark.parametrize("kind", ["plain", "networked"])
def test_daemon_of_the_tests_leaves_the_machines_docker_as_it_is(
    kind: str, docker0: None, require: Callable[[str], str], short_path: Path
) -> None:
    require("dockerd")
    before = seen()
    docker = docker_daemon.ensure(short_path, kind)
    try:
        ours = subprocess.check_output([*docker.inside, "ip", "-o", "link"], text=True)
        assert ("docker0" in ours) == (kind == "networked")
        assert seen() == before
    finally:
        docker_daemon.stop_all(short_path)
    assert seen() == before
    assert not docker.record.exists()


@pytest.fixture
def short_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory in which a socket's name is not too long (108 bytes)."""
    return tmp_path_factory.mktemp("d")
