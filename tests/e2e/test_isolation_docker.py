"""The same isolation as Docker's: one program looks around in a container of each engine."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support import attack
from support.command import Minidock
from support.docker_daemon import Docker

pytestmark = pytest.mark.root

PROBE = (Path(attack.__file__).parent / "probe.py").read_text()
PROFILE = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{"names": ["chroot", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 88}],
}

FLAGS = {
    "default": "",
    "privileged": "--privileged",
    "no capabilities": "--cap-drop ALL",
    "one capability": "--cap-drop ALL --cap-add NET_BIND_SERVICE",
    "administrator": "--cap-add SYS_ADMIN --cap-add SYS_PTRACE --cap-add CAP_BPF --cap-add SYSLOG",
    "all but two": "--cap-add ALL --cap-drop MKNOD --cap-drop sys_time",
    "user": "-u 1000:1000",
    "user with a capability": "-u ann --cap-add NET_ADMIN --group-add band",
    "no new privileges": "--security-opt no-new-privileges",
    "no filter": "--security-opt seccomp=unconfined",
    "own filter": "--security-opt seccomp={profile}",
    "read-only": "--read-only --tmpfs /tmp --device /dev/loop0 --device /dev/zero:/dev/nought:r",
    "host's": "--pid host --ipc host --uts host",
}


@pytest.fixture(scope="module")
def attacker_tar() -> bytes:
    return attack.Rootfs().host_python().bytes()


@pytest.fixture
def both(
    minidock: Minidock, docker: Docker, attacker_tar: bytes
) -> Callable[..., tuple[dict[str, Any], dict[str, Any]]]:
    """Runs the probe in a container of each engine; returns what Docker's saw, and ours."""
    docker.ok("import", "-", "attacker", stdin=attacker_tar)
    minidock.ok("import", "-", "attacker", stdin=attacker_tar)

    def run(*flags: str) -> tuple[dict[str, Any], dict[str, Any]]:
        line = ["run", "--rm", "--network", "none", *attack.python_flags(), *flags, "attacker"]
        line += attack.python_command(PROBE)
        # Ours see their own cgroup as "/" on both cgroup versions, Docker's only on v2.
        theirs = docker.ok("run", "--cgroupns", "private", *line[1:])
        return attack.answer(theirs), attack.answer(minidock.ok(*line))

    return run


@pytest.mark.parametrize("name", FLAGS)
def test_container_has_docker_s_isolation(
    name: str, both: Callable[..., tuple[dict[str, Any], dict[str, Any]]], tmp_path: Path
) -> None:
    (tmp_path / "profile.json").write_text(json.dumps(PROFILE))
    theirs, ours = both(*FLAGS[name].format(profile=tmp_path / "profile.json").split())
    level(theirs, ours)
    if found := list(differences(theirs, ours)):
        pytest.fail("\n".join(found), pytrace=False)


def level(theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    """Take away what depends on the version of runc.

    Since 1.2 a container may no longer open 10:200, the host's /dev/net/tun. And the tmpfs above
    the trees of cgroup v1 is left writable by some.
    """
    for seen in (theirs, ours):
        del seen["devices"]["c 10:200"]
        seen["device rules"] = [r for r in seen["device rules"] if not r.startswith("c 10:200 ")]
        if seen["mounts"]["/sys/fs/cgroup"][0] == "tmpfs":
            seen["mounts"]["/sys/fs/cgroup"] = []


def differences(theirs: Any, ours: Any, where: str = "") -> Iterator[str]:
    """Where two answers differ, one line each."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for key in sorted({*theirs, *ours}):
            yield from differences(theirs.get(key), ours.get(key), f"{where} / {key}")
    elif theirs != ours:
        yield f"{where}: docker {theirs}, minidock {ours}"
