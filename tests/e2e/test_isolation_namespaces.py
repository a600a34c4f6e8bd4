"""Alone on the machine: what namespaces hide, and what a flag shares, and only that."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from minidock.paths import Store
from support import attack
from support.command import Minidock
from support.machine import mounts

pytestmark = pytest.mark.root

KINDS = ("pid", "mnt", "uts", "ipc", "net", "cgroup")
LIST = "for n in pid mnt uts ipc net cgroup; do readlink /proc/self/ns/$n; done"


def _of_host() -> dict[str, str]:
    return {kind: os.readlink(f"/proc/self/ns/{kind}") for kind in KINDS}


def _inside(text: str) -> dict[str, str]:
    return dict(zip(KINDS, text.split(), strict=True))


def test_all_six_namespaces_are_new(minidock: Minidock, busybox_image: str) -> None:
    minidock.ok("run", "-d", "--name", "box", busybox_image, "sleep", "60")
    first = _inside(minidock.ok("exec", "box", "sh", "-c", LIST))
    second = _inside(minidock.ok("run", "--rm", busybox_image, "sh", "-c", LIST))
    host = _of_host()
    for kind in KINDS:
        assert len({host[kind], first[kind], second[kind]}) == 3, kind
    minidock.ok("rm", "-f", "box")


@pytest.mark.parametrize(
    ("flags", "shared"),
    [
        (("--network", "host"), "net"),
        (("--pid", "host"), "pid"),
        (("--ipc", "host"), "ipc"),
        (("--uts", "host"), "uts"),
        (("--cgroupns", "host"), "cgroup"),
    ],
)
def test_host_flag_shares_exactly_that_namespace(
    minidock: Minidock, busybox_image: str, flags: tuple[str, ...], shared: str
) -> None:
    found = _inside(minidock.ok("run", "--rm", *flags, busybox_image, "sh", "-c", LIST))
    host = _of_host()
    assert {kind for kind in KINDS if found[kind] == host[kind]} == {shared}


@pytest.mark.parametrize(
    ("flag", "shared"), [("--network", "net"), ("--pid", "pid"), ("--ipc", "ipc")]
)
def test_container_flag_shares_exactly_that_namespace(
    minidock: Minidock, busybox_image: str, flag: str, shared: str
) -> None:
    donor = ["--ipc", "shareable"] if shared == "ipc" else []
    minidock.ok("run", "-d", "--name", "box", *donor, busybox_image, "sleep", "60")
    first = _inside(minidock.ok("exec", "box", "sh", "-c", LIST))
    look = ("run", "--rm", flag, "container:box", busybox_image, "sh", "-c", LIST)
    second = _inside(minidock.ok(*look))
    assert {kind for kind in KINDS if first[kind] == second[kind]} == {shared}
    assert second[shared] != _of_host()[shared]
    minidock.ok("rm", "-f", "box")


def test_shared_memory_goes_with_the_ipc_namespace(
    minidock: Minidock, busybox_image: str, store: Store
) -> None:
    for name, mode in (("open", "shareable"), ("closed", "private")):
        words = ("sh", "-c", "echo there > /dev/shm/word; sleep 60")
        minidock.ok("run", "-d", "--name", name, "--ipc", mode, busybox_image, *words)
    look = ("cat", "/dev/shm/word")
    assert minidock.ok("run", "--rm", "--ipc", "container:open", busybox_image, *look) == "there"
    refused = minidock("run", "--rm", "--ipc", "container:closed", busybox_image, *look)
    assert refused.code == 125 and "shareable" in refused.stderr, str(refused)
    assert minidock("run", "--rm", busybox_image, *look).code == 1
    none = minidock.ok("run", "--rm", "--ipc", "none", busybox_image, "cat", "/proc/mounts")
    assert "/dev/shm" not in none
    minidock.ok("rm", "-f", "open", "closed")
    assert [m for m in mounts() if m.startswith(store.root)] == []


def test_host_s_processes_and_names_are_out_of_sight(
    minidock: Minidock, busybox_image: str
) -> None:
    name = os.uname().nodename
    look = "ls /proc | grep '^[0-9]'; echo --; hostname boxed 2>&1; hostname; cat /proc/self/cgroup"
    seen = minidock.ok("run", "--rm", "-h", "mine", busybox_image, "sh", "-c", look)
    processes, rest = seen.split("--\n")
    assert [int(pid) for pid in processes.split()] == sorted(int(p) for p in processes.split())
    assert max(int(pid) for pid in processes.split()) < 10
    lines = rest.splitlines()
    assert lines[0] == "hostname: sethostname: Operation not permitted" and lines[1] == "mine"
    assert {line.split(":", 2)[2] for line in lines[2:]} == {"/"}
    assert os.uname().nodename == name


def test_shared_memory_of_the_host_is_out_of_sight(minidock: Minidock, busybox_image: str) -> None:
    made = subprocess.run(["ipcmk", "-M", "4096"], capture_output=True, text=True, check=True)
    number = made.stdout.split()[-1]
    try:
        assert number in Path("/proc/sysvipc/shm").read_text()
        look = ("cat", "/proc/sysvipc/shm")
        assert len(minidock.ok("run", "--rm", busybox_image, *look).splitlines()) == 1
        shared = minidock.ok("run", "--rm", "--ipc", "host", busybox_image, *look)
        assert f" {number} " in shared
    finally:
        subprocess.run(["ipcrm", "-m", number], check=True)


def test_mounts_made_inside_and_outside_do_not_meet(
    minidock: Minidock, busybox_image: str, store: Store, tmp_path: Path
) -> None:
    """Also where the host's own tree is shared, as systemd makes it."""
    volume = tmp_path / "volume"
    for name in ("outer", "inner"):
        (volume / name).mkdir(parents=True)
    subprocess.run(["mount", "--bind", volume, volume], check=True)
    subprocess.run(["mount", "--make-shared", volume], check=True)
    try:
        line = ["--cap-add", "SYS_ADMIN", "-v", f"{volume}:/volume", busybox_image, "sleep", "60"]
        minidock.ok("run", "-d", "--name", "box", *line)
        subprocess.run(["mount", "-t", "tmpfs", "none", volume / "outer"], check=True)
        (volume / "outer/after").touch()
        inside = "mount -t tmpfs none /volume/inner; touch /volume/inner/after; ls /volume/outer"
        assert minidock.ok("exec", "box", "sh", "-c", inside) == ""
        assert os.listdir(volume / "inner") == []
        minidock.ok("rm", "-f", "box")
    finally:
        subprocess.run(["umount", "-R", "-l", volume], check=True)


def test_volume_shared_on_request_passes_mounts_on(
    minidock: Minidock, busybox_image: str, tmp_path: Path
) -> None:
    volume = tmp_path / "volume"
    (volume / "outer").mkdir(parents=True)
    subprocess.run(["mount", "--bind", volume, volume], check=True)
    subprocess.run(["mount", "--make-shared", volume], check=True)
    try:
        line = ["-v", f"{volume}:/volume:rslave", busybox_image, "sleep", "60"]
        minidock.ok("run", "-d", "--name", "box", *line)
        subprocess.run(["mount", "-t", "tmpfs", "none", volume / "outer"], check=True)
        (volume / "outer/after").touch()
        assert minidock.ok("exec", "box", "ls", "/volume/outer") == "after"
        minidock.ok("rm", "-f", "box")
    finally:
        subprocess.run(["umount", "-R", "-l", volume], check=True)


def test_mounts_of_the_host_are_not_in_the_container_s_list(
    minidock: Minidock, busybox_image: str, store: Store
) -> None:
    seen = minidock.ok("run", "--rm", busybox_image, "cat", "/proc/self/mountinfo")
    points = [line.split()[4] for line in seen.splitlines()]
    assert points[0] == "/" and points.count("/") == 1
    given = ("/proc", "/dev", "/sys", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf")
    assert [p for p in points[1:] if not p.startswith(given)] == []


KEYS = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
number = 250 if os.uname().machine == "x86_64" else 219
def keyctl(*words):
    words = [ctypes.c_long(w) if isinstance(w, int) else w for w in (number, *words)]
    return libc.syscall(*words)
found = keyctl(10, -3, b"user", b"isolation-secret", 0)
print("found" if found > 0 else "none")
"""
KEEP = f"""
import ctypes, os, subprocess, sys
libc = ctypes.CDLL(None, use_errno=True)
x86 = os.uname().machine == "x86_64"
libc.syscall(ctypes.c_long(250 if x86 else 219), ctypes.c_long(1), None)
add_key, session = ctypes.c_long(248 if x86 else 217), ctypes.c_long(-3)
libc.syscall(add_key, b"user", b"isolation-secret", b"s", ctypes.c_long(1), session)
exec({KEYS!r})
sys.stdout.flush()
os.execv(sys.argv[1], sys.argv[1:])
"""


def test_keys_of_the_caller_s_session_are_not_the_container_s(
    minidock: Minidock, store: Store
) -> None:
    """With the filter off, keyctl(2) is there; the keys behind it are the container's own."""
    image = attack.Rootfs().host_python().into(minidock, "attacker")
    line = ["--network", "none", "--security-opt", "seccomp=unconfined", *attack.python_flags()]
    words = attack.python_command(KEYS)
    command = ["run", "--rm", *line, image, *words]
    seen = attack.run_as(minidock, KEEP, *command)
    assert seen.splitlines() == ["found", "none"]
