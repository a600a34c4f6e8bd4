"""What differs from one processor's architecture to another, asked of the kernel that runs here.

Programs made by hand call by the numbers of the kernel's headers, in the machine's own ABI and in
that of 32 bits, which a container may use at any time.
"""

from __future__ import annotations

import os
import socket
import subprocess
from errno import ENOSYS, EPERM, errorcode
from pathlib import Path

import pytest

from support import attack, elf
from support.base_images import browse
from support.command import Minidock
from support.syscalls import from_headers

pytestmark = pytest.mark.root

MACHINE = os.uname().machine
HERE = {"x86_64": "amd64", "aarch64": "arm64"}[MACHINE]
NEW_USER = 0x10000000  # CLONE_NEWUSER
CHILD = 17  # SIGCHLD
VSOCK = 40  # AF_VSOCK

REFUSED: dict[str, tuple[int, ...]] = {
    "unshare": (NEW_USER,),
    "keyctl": (0, 0),
    "add_key": (0, 0, 0, 0, 0),
    "request_key": (0, 0, 0, 0),
    "move_pages": (0, 0, 0, 0, 0),
    "get_mempolicy": (0, 0, 0, 0, 0),
    "setns": (99, 0),
    "io_uring_setup": (0, 0),
    "clone": (NEW_USER | CHILD, 0, 0, 0, 0),
    "personality": (0x40000,),
    "socket": (VSOCK, 1, 0),
}
"""Calls that the filter refuses, and that the kernel itself answers in another way."""
MISSING = {"clone3": (0, 0), "a call of the future": (0,)}
ALLOWED = {"getpid": (), "getppid": (), "uname": (0,), "chroot": (0,), "mknodat": (0, 0)}


def _programs(abi: str) -> dict[str, bytes]:
    numbers = {**from_headers()[abi], "a call of the future": 999}
    calls = {**REFUSED, **MISSING, **ALLOWED}
    return {name: elf.one_call(abi, numbers[name], *calls[name]) for name in calls}


def _runs_here(abi: str, directory: Path) -> bool:
    program = directory / "getpid"
    program.write_bytes(elf.one_call(abi, from_headers()[abi]["getpid"]))
    program.chmod(0o755)
    try:
        return subprocess.run([program], check=False).returncode == 0
    except OSError:
        return False


@pytest.fixture(params=elf.RUN_BY[MACHINE])
def calls_image(request: pytest.FixtureRequest, minidock: Minidock, tmp_path: Path) -> str:
    """An image with a program for each of the calls above, for one ABI."""
    abi: str = request.param
    if not _runs_here(abi, tmp_path):
        pytest.skip(f"this kernel runs no programs of {abi}")
    rootfs = attack.Rootfs().busybox()
    for name, program in _programs(abi).items():
        rootfs.file(f"calls/{name}", program, mode=0o755)
    return rootfs.into(minidock, f"calls-{abi}")


def _answers(minidock: Minidock, image: str, *flags: str) -> dict[str, str]:
    """What each call came to in a new container."""
    each = 'cd /calls; for f in *; do "./$f"; echo "$f:$?"; done'
    said = minidock.ok("run", "--rm", "--network", "none", *flags, image, "sh", "-c", each)
    pairs = (line.rpartition(":")[::2] for line in said.splitlines())
    return {name: errorcode.get(int(code), code) for name, code in pairs}


def test_filter_refuses_the_calls_that_it_means(minidock: Minidock, calls_image: str) -> None:
    found = _answers(minidock, calls_image)
    assert {name: found[name] for name in REFUSED} == dict.fromkeys(REFUSED, errorcode[EPERM])
    assert {name: found[name] for name in MISSING} == dict.fromkeys(MISSING, errorcode[ENOSYS])
    given_nothing = dict.fromkeys(("uname", "chroot", "mknodat"), "EFAULT")
    assert {name: found[name] for name in ALLOWED} == {
        "getpid": "0",
        "getppid": "0",
    } | given_nothing


def test_without_the_filter_the_kernel_answers_itself(minidock: Minidock, calls_image: str) -> None:
    """So that a refusal above is the filter's, and each number that of the call it stands for."""
    found = _answers(minidock, calls_image, "--security-opt", "seccomp=unconfined")
    refused = {name for name in REFUSED if found[name] in ("EPERM", "ENOSYS")}
    assert refused <= {"setns", "io_uring_setup", "move_pages"}, found
    assert found["unshare"] == found["get_mempolicy"] == found["personality"] == "0"
    assert found["add_key"] == "EFAULT"
    assert found["setns"] == "EBADF"
    assert found["clone3"] == "EINVAL"


def test_a_container_s_whole_life(minidock: Minidock, busybox_image: str) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    serve = "echo up; exec httpd -f -h /etc"
    minidock.ok(
        *("run", "-d", "--name", "box", "-p", f"{port}:80", "-m", "64m", "--pids-limit", "20"),
        *(busybox_image, "sh", "-c", serve),
    )
    assert browse(f"http://127.0.0.1:{port}/passwd").startswith("root:x:0:0:")
    assert minidock.ok("exec", "box", "sh", "-c", "cat /proc/1/comm; hostname -i | wc -w") == (
        "httpd\n1"
    )
    assert minidock.ok("logs", "box") == "up"
    minidock.ok("pause", "box")
    assert "(Paused)" in minidock.ok("ps", "--format", "{{.Names}} {{.Status}}")
    minidock.ok("unpause", "box")
    minidock.ok("stop", "-t", "1", "box")
    assert minidock.ok("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "box") in (
        "exited 137", "exited 143", "exited 0"
    )  # fmt: skip
    minidock.ok("start", "box")
    minidock.ok("rm", "-f", "box")
    assert minidock.ok("ps", "-aq") == ""


def test_container_and_its_image_are_of_this_machine(
    minidock: Minidock, busybox_image: str
) -> None:
    assert minidock.ok("inspect", "-f", "{{.Os}}/{{.Architecture}}", busybox_image) == (
        f"linux/{HERE}"
    )
    assert minidock.ok("run", "--rm", busybox_image, "uname", "-m") == MACHINE
    assert minidock.ok("version", "-f", "{{.Client.Os}}/{{.Client.Arch}}") == f"linux/{HERE}"


@pytest.mark.parametrize(
    "platform",
    [f"linux/{HERE}", f"linux/{HERE}/{'v8' if HERE == 'arm64' else 'v1'}", f"linux/{MACHINE}"],
)
def test_this_machines_platform_has_several_names(
    minidock: Minidock, busybox_image: str, platform: str
) -> None:
    minidock.ok("run", "--rm", "--platform", platform, busybox_image, "true")
