"""Seccomp filters in force: what a filtered process may do, and that runc installs the same."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
from collections.abc import Callable
from errno import EPERM
from pathlib import Path
from typing import Any

import pytest

from minidock.kernel import capability, seccomp
from minidock.kernel.libc import MACHINE, NUMBERS
from support.bpf import AARCH64, ARM, X86, X86_64, installed_filter, run_filter
from support.docker_daemon import Docker

pytestmark = pytest.mark.root
OF_32_BITS = {"x86_64": "SCMP_ARCH_X86", "aarch64": "SCMP_ARCH_ARM"}[MACHINE]
DEFAULT = list(capability.DOCKER_DEFAULT)
_libc = ctypes.CDLL(None, use_errno=True)


def errno_of(number: int, *arguments: int) -> int:
    """The errno with which a raw system call ends; 0 where it succeeds."""
    words = [ctypes.c_long(value) for value in arguments]
    return 0 if _libc.syscall(ctypes.c_long(number), *words) >= 0 else ctypes.get_errno()


def in_child(act: Callable[[], Any]) -> Any:
    """What a function returns in a forked child, sent home as JSON; or how the child ended."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(writer, json.dumps(act()).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        answer = pipe.read()
    status = os.waitpid(pid, 0)[1]
    return json.loads(answer) if answer else {"signal": os.WTERMSIG(status)}


def become_container(program: bytes, capabilities: list[str]) -> None:
    """Filter and capabilities of a container, in the order of its init."""
    seccomp.load(program)
    capability.set_bounding(capabilities)
    capability.set_capabilities(effective=capabilities, permitted=capabilities, inheritable=[])
    capability.set_ambient([])


def test_a_container_may_not_reach_for_the_kernel(tmp_path: Path) -> None:
    program = seccomp.compile(seccomp.default_profile(DEFAULT), str(tmp_path))

    def attempts() -> dict[str, int]:
        become_container(program, DEFAULT)
        return {
            "mount": errno_of(NUMBERS["mount"], 0, 0, 0, 0, 0),
            "unshare user": errno_of(NUMBERS["unshare"], 0x10000000),
            "setns": errno_of(NUMBERS["setns"], -1, 0),
            "keyctl": errno_of(NUMBERS["keyctl"], 0, 0),
            "bpf": errno_of(NUMBERS["bpf"], 0, 0, 0),
            "clone3": errno_of(NUMBERS["clone3"], 0, 0),
            "a call of the future": errno_of(2000),
            "personality (ADDR_NO_RANDOMIZE)": errno_of(NUMBERS["personality"], 0x0040000),
            "personality (query)": errno_of(NUMBERS["personality"], 0xFFFFFFFF),
        }

    assert in_child(attempts) == {
        "mount": EPERM,
        "unshare user": EPERM,
        "setns": EPERM,
        "keyctl": EPERM,
        "bpf": EPERM,
        "clone3": 38,
        "a call of the future": 38,
        "personality (ADDR_NO_RANDOMIZE)": EPERM,
        "personality (query)": 0,
    }


def test_without_the_filter_a_new_user_namespace_is_possible() -> None:
    """The attack that the filter stops: CAP_SYS_ADMIN by way of a user namespace."""

    def attempt() -> int:
        capability.set_bounding(DEFAULT)
        capability.set_capabilities(effective=DEFAULT, permitted=DEFAULT, inheritable=[])
        return errno_of(NUMBERS["unshare"], 0x10000000)

    assert in_child(attempt) == 0


def test_a_filter_needs_root_or_no_new_privs(tmp_path: Path) -> None:
    program = seccomp.compile(seccomp.default_profile(DEFAULT), str(tmp_path))

    def unprivileged() -> list[Any]:
        capability.set_capabilities(effective=[], permitted=[], inheritable=[])
        try:
            seccomp.load(program)
            first = "loaded"
        except Exception as error:
            first = str(error)
        capability.set_no_new_privs()
        seccomp.load(program)
        return [first, Path("/proc/self/status").read_text()]

    first, status = in_child(unprivileged)
    assert "seccomp(2)" in first and "EACCES" in first
    assert "Seccomp:\t2\n" in status and "NoNewPrivs:\t1\n" in status


@pytest.mark.parametrize(
    ("action", "ended"),
    [("SCMP_ACT_KILL", signal.SIGSYS), ("SCMP_ACT_KILL_PROCESS", signal.SIGSYS),
     ("SCMP_ACT_TRAP", signal.SIGSYS)],
)  # fmt: skip
def test_a_deadly_action_kills(action: str, ended: int, tmp_path: Path) -> None:
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["getpriority"], "action": action}],
    }
    program = seccomp.compile(profile, str(tmp_path))

    def attempt() -> int:
        seccomp.load(program)
        return errno_of({"x86_64": 140, "aarch64": 141}[MACHINE], 0, 0)

    assert in_child(attempt) == {"signal": ended}


# Against the filters that runc makes with libseccomp ---------------------------------------------


def same_decisions(ours: bytes, theirs: bytes, *, values: list[int]) -> None:
    numbers = [*range(600), *range(0x40000000 - 2, 0x40000000 + 600), 0xFFFFFFFF]
    older = range(430)  # for new calls of 32-bit ARM, runc has another answer: see _beyond
    differing = []
    for arch in (X86_64, X86, AARCH64, ARM, 0):
        for number in older if arch == ARM else numbers:
            for value in values:
                asked = (arch, number, (value,) * 6)
                answers = (run_filter(ours, *asked), run_filter(theirs, *asked))
                if answers[0] != answers[1]:
                    differing.append((f"{arch:x}", number, value, *map(hex, answers)))
    assert not differing


@pytest.mark.parametrize(
    ("flags", "capabilities"),
    [
        ([], DEFAULT),
        (["--cap-add", "SYS_ADMIN"], [*DEFAULT, "CAP_SYS_ADMIN"]),
        (["--cap-drop", "ALL"], []),
    ],
    ids=["default", "admin", "nothing"],
)
def test_dockers_default_filter_decides_alike(
    docker: Docker, busybox_tar: Path, tmp_path: Path, flags: list[str], capabilities: list[str]
) -> None:
    docker.ok("import", str(busybox_tar), "seccomp-test")
    container = docker.ok("run", "-d", "--network=none", *flags, "seccomp-test", "sleep", "60")
    try:
        pid = int(docker.ok("inspect", "-f", "{{.State.Pid}}", container))
        theirs = installed_filter(pid)
    finally:
        docker.ok("rm", "-f", container)
    ours = seccomp.compile(seccomp.default_profile(capabilities), str(tmp_path))[4:]
    values = [0, 8, 40, 0x20000, 0xFFFFFFFF, 1 << 32, 0x7E020000, 0x10000]
    same_decisions(ours, theirs, values=values)


PROFILES = {
    "deny": {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [
            {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95},
            {"names": ["chmod"], "action": "SCMP_ACT_KILL_PROCESS"},
            {"names": ["socket"], "action": "SCMP_ACT_ERRNO",
             "args": [{"index": 0, "value": 8, "op": "SCMP_CMP_GE"}]},
        ],
    },
    "allow, one architecture": {
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": [f"SCMP_ARCH_{MACHINE.upper()}"],
        "syscalls": [
            {"names": sorted({name for group in seccomp.default_profile([])["syscalls"]
                              for name in group["names"]} - {"ptrace"}),
             "action": "SCMP_ACT_ALLOW"},
            {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW",
             "args": [{"index": 0, "value": 8, "op": "SCMP_CMP_EQ"},
                      {"index": 0, "value": 16, "op": "SCMP_CMP_EQ"}]},
        ],
    },
    "default ENOSYS": {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 38,
        "architectures": [f"SCMP_ARCH_{MACHINE.upper()}", OF_32_BITS],
        "syscalls": [
            {"names": sorted({name for group in seccomp.default_profile([])["syscalls"]
                              for name in group["names"]}), "action": "SCMP_ACT_ALLOW"},
            {"names": ["mount"], "action": "SCMP_ACT_TRACE"},
            {"names": ["umount2"], "action": "SCMP_ACT_LOG"},
        ],
    },
}  # fmt: skip


@pytest.mark.parametrize("name", PROFILES)
def test_runc_makes_the_same_of_a_profile(
    name: str, require: Callable[[str], str], busybox_tar: Path, tmp_path: Path
) -> None:
    runc = [require("runc"), "--root", str(tmp_path / "state")]
    (tmp_path / "rootfs").mkdir()
    subprocess.run(["tar", "-xf", busybox_tar, "-C", tmp_path / "rootfs"], check=True)
    subprocess.run([*runc, "spec"], cwd=tmp_path, check=True)
    config = json.loads((tmp_path / "config.json").read_text())
    config["process"].update(terminal=False, args=["sleep", "60"])
    config["linux"]["seccomp"] = PROFILES[name]
    container = f"mdt-{os.getpid()}"
    config["linux"]["cgroupsPath"] = f"/{container}"
    (tmp_path / "config.json").write_text(json.dumps(config))
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
    subprocess.run([*runc, "run", "-d", container], cwd=tmp_path, check=True, **quiet)  # type: ignore[call-overload]
    try:
        state = subprocess.run([*runc, "state", container], capture_output=True, check=True)
        theirs = installed_filter(json.loads(state.stdout)["pid"])
    finally:
        subprocess.run([*runc, "delete", "--force", container], check=True)
    ours = seccomp.compile(PROFILES[name], str(tmp_path / "cache"))[4:]
    same_decisions(ours, theirs, values=[0, 7, 8, 16, 1 << 32, 0xFFFFFFFF])
