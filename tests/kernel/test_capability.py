"""Capabilities on this kernel, as /proc/PID/status shows them; and Docker's, beside ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from minidock.kernel import capability
from minidock.kernel.capability import DOCKER_DEFAULT
from support.command import SOURCE
from support.docker_daemon import Docker

pytestmark = pytest.mark.root


def status_after(*steps: str, execute: bool = False) -> dict[str, str]:
    """The Cap… and NoNewPrivs lines of a process that did these steps, perhaps after an execve."""
    show = "open('/proc/self/status').read()"
    last = f"print({show})" if not execute else "os.execv('/bin/cat', ['cat', '/proc/self/status'])"
    program = "\n".join(
        ["import os", "from minidock.kernel import capability, process", *steps, last]
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = [line.split(":\t") for line in done.stdout.splitlines() if ":\t" in line]
    return {name: value for name, value in lines if name.startswith(("Cap", "NoNew"))}


def names(field: str) -> set[str]:
    return set(capability.names_of(int(field, 16)))


DEFAULT = f"default = {list(DOCKER_DEFAULT)!r}"
BECOME = (
    DEFAULT,
    "capability.set_bounding(default)",
    "capability.keep_capabilities()",
    "capability.set_capabilities(effective=default, permitted=default, inheritable=[])",
    "capability.set_ambient([])",
)


def test_root_in_a_container_has_fourteen_after_execve() -> None:
    status = status_after(*BECOME, execute=True)
    mask = f"{capability.mask_of(list(DOCKER_DEFAULT)):016x}"
    assert status["CapPrm"] == status["CapEff"] == status["CapBnd"] == mask
    assert int(status["CapInh"], 16) == int(status["CapAmb"], 16) == 0


def test_another_user_has_none_after_execve_but_ambient_ones() -> None:
    user = ("process.set_groups([])", "process.set_user(1000, 1000)")
    plain = status_after(*BECOME[:3], *user, *BECOME[3:], execute=True)
    assert int(plain["CapEff"], 16) == int(plain["CapPrm"], 16) == 0
    ambient = status_after(
        *BECOME[:3],
        *user,
        "raw = ['CAP_NET_RAW']",
        "capability.set_capabilities(effective=raw, permitted=raw, inheritable=raw)",
        "capability.set_ambient(raw)",
        execute=True,
    )
    assert names(ambient["CapEff"]) == names(ambient["CapAmb"]) == {"CAP_NET_RAW"}


def test_what_we_lack_is_left_out_and_named() -> None:
    without = [name for name in capability.available() if name != "CAP_SYS_TIME"]
    both = ["CAP_KILL", "CAP_SYS_TIME"]
    status = status_after(
        f"capability.set_capabilities(effective={without}, permitted={without}, inheritable=[])",
        f"told = capability.set_capabilities(effective={both}, permitted={both}, inheritable=[])",
        "assert told == 'not granted: CAP_SYS_TIME', told",
    )
    assert names(status["CapEff"]) == {"CAP_KILL"}


def test_no_new_privs_is_set_for_good() -> None:
    assert status_after("capability.set_no_new_privs()", execute=True)["NoNewPrivs"] == "1"


@pytest.mark.parametrize(
    ("add", "drop", "privileged"),
    [
        ([], [], False),
        (["net_admin", "CAP_SYS_PTRACE"], ["MKNOD"], False),
        (["kill"], ["ALL"], False),
        (["ALL"], ["sys_admin"], False),
        ([], [], True),
    ],
)
def test_docker_computes_the_same(
    docker: Docker, busybox_tar: Path, add: list[str], drop: list[str], privileged: bool
) -> None:
    docker.ok("import", str(busybox_tar), "capability-test")
    flags = [f"--cap-add={name}" for name in add] + [f"--cap-drop={name}" for name in drop]
    flags += ["--privileged"] if privileged else []
    command = ["cat", "/proc/self/status"]
    output = docker.ok("run", "--rm", "--network=none", *flags, "capability-test", *command)
    lines = dict(line.split(":\t") for line in output.splitlines() if ":\t" in line)
    ours = set(capability.resolve(add, drop, privileged=privileged))
    assert names(lines["CapEff"]) == names(lines["CapBnd"]) == ours & set(capability.available())


@pytest.mark.parametrize("flag", ["--cap-add=FOO", "--cap-drop=bar"])
def test_docker_refuses_in_the_same_words(docker: Docker, busybox_tar: Path, flag: str) -> None:
    docker.ok("import", str(busybox_tar), "capability-test")
    said = docker("run", "--rm", "--network=none", flag, "capability-test", "true").stderr.decode()
    option, _, name = flag.partition("=")
    given = {"--cap-add": ([name], []), "--cap-drop": ([], [name])}[option]
    with pytest.raises(Exception) as caught:
        capability.resolve(*given)
    assert str(caught.value) in said, json.dumps(said)
