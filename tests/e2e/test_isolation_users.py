"""Who a container's command is, and what it may write, raise and use up: -u and its neighbours."""

from __future__ import annotations

from pathlib import Path

import pytest

from minidock.paths import Store
from support import attack
from support.command import Minidock
from support.docker_daemon import Docker

pytestmark = pytest.mark.root

LOOK = (
    "grep -E '^(Uid|Gid|Groups)' /proc/self/status; echo $HOME; "
    "touch /dev/shm/$$; stat -c %u:%g /dev/shm/$$"
)


@pytest.fixture(scope="module")
def people_tar() -> bytes:
    rootfs = attack.Rootfs().busybox()
    for name in ("touch", "su", "ln", "mount", "umount", "stat", "df", "head", "env", "dd"):
        rootfs.link(f"bin/{name}", "busybox")
    rootfs.file(
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\nann:x:1000:1001::/home/ann:/bin/sh\n"
        "777:x:888:889::/seven:/bin/sh\n",
    )
    rootfs.file("etc/group", "root:x:0:\nann:x:1001:\ncrew:x:2000:ann,root\nband:x:3000:bob\n")
    return rootfs.bytes()


@pytest.fixture
def people(minidock: Minidock, store: Store, people_tar: bytes) -> str:
    minidock.ok("import", "-", "people", stdin=people_tar)
    return "people"


USERS = ("", "ann", "1000", "1000:0", "ann:crew", "4711", "4711:crew", ":band", "777", "0:0")
UNKNOWN = ("nobody-here", "ann:nogroup", "-1", "4294967296", "ann:")


def test_users_and_groups_are_docker_s(
    minidock: Minidock, docker: Docker, people: str, people_tar: bytes
) -> None:
    docker.ok("import", "-", "people", stdin=people_tar)
    look = ("sh", "-c", LOOK)
    line = ("--network", "none", "--group-add", "band", "--group-add", "5000", "people")
    for engine in (minidock, docker):
        engine.ok("run", "-d", "--name", "box", *line, "sleep", "600")
    theirs = {user: docker.ok("exec", "-u", user, "box", *look) for user in USERS}
    assert {user: minidock.ok("exec", "-u", user, "box", *look) for user in USERS} == theirs
    first = ("run", "--rm", "-u", "ann", *line, *look)
    assert minidock.ok(*first) == docker.ok(*first)
    for user in UNKNOWN:
        known = docker("exec", "-u", user, "box", "true").returncode == 0
        assert (minidock("exec", "-u", user, "box", "true").code == 0) is known, user
    for engine in (minidock, docker):
        engine.ok("rm", "-f", "box")


def test_user_writes_to_its_own_streams_by_name(minidock: Minidock, people: str) -> None:
    talk = "echo out > /dev/stdout; echo err > /dev/stderr; exec 1>/proc/self/fd/1; echo again"
    said = minidock("run", "--rm", "-u", "ann", people, "sh", "-c", talk)
    assert (said.stdout, said.stderr) == ("out\nagain\n", "err\n")
    minidock.ok("run", "-d", "--name", "box", "-u", "ann", people, "sleep", "60")
    said = minidock("exec", "box", "sh", "-c", talk)
    assert (said.stdout, said.stderr) == ("out\nagain\n", "err\n")
    minidock.ok("rm", "-f", "box")


def test_no_new_privileges_keeps_setuid_programs_from_raising(
    minidock: Minidock, store: Store
) -> None:
    rootfs = attack.Rootfs().host_python()
    rootfs.file("raise", Path("/usr/bin/id").read_bytes(), mode=0o4755)
    image = rootfs.into(minidock, "raising")
    line = ["--network", "none", *attack.python_flags(), "-u", "ann"]
    assert minidock.ok("run", "--rm", *line, image, "/raise", "-u") == "0"
    line += ["--security-opt", "no-new-privileges"]
    assert minidock.ok("run", "--rm", *line, image, "/raise", "-u") == "1000"
    minidock.ok("run", "-d", "--name", "box", *line, image, "/usr/bin/sleep", "60")
    assert minidock.ok("exec", "box", "/raise", "-u") == "1000"
    assert minidock.ok("exec", "-u", "ann", "--privileged", "box", "/raise", "-u") == "1000"
    minidock.ok("rm", "-f", "box")


def test_limits_of_a_process_hold_for_the_command_and_for_exec(
    minidock: Minidock, people: str
) -> None:
    flags = ("--ulimit", "nofile=100:200", "--ulimit", "core=0", "--ulimit", "nproc=1000")
    look = "ulimit -Sn; ulimit -Hn; ulimit -c; ulimit -n 201"
    minidock.ok("run", "-d", "--name", "box", "-u", "ann", *flags, people, "sleep", "60")
    for seen in (
        minidock("run", "--rm", "-u", "ann", *flags, people, "sh", "-c", look),
        minidock("exec", "box", "sh", "-c", look),
    ):
        assert seen.stdout == "100\n200\n0\n" and seen.code != 0, str(seen)
    minidock.ok("rm", "-f", "box")


def test_read_only_rootfs_is_writable_nowhere_but_in_its_volumes(
    minidock: Minidock, people: str, tmp_path: Path
) -> None:
    flags = ("--read-only", "--tmpfs", "/tmp", "-v", f"{tmp_path}:/given", "-v", "shelf:/shelf")
    tries = "; ".join(
        f"touch {d}/x 2>/dev/null && echo {d}"
        for d in ("", "/etc", "/bin", "/root", "/tmp", "/given", "/shelf", "/dev/shm", "/proc/sys")
    )
    seen = minidock("run", "--rm", *flags, people, "sh", "-c", tries + "; echo x > /etc/hosts")
    assert seen.stdout.split() == ["/tmp", "/given", "/shelf", "/dev/shm"]
    assert "Read-only file system" in seen.stderr


def test_tmpfs_and_shared_memory_have_the_size_and_options_that_were_asked_for(
    minidock: Minidock, people: str
) -> None:
    flags = ("--tmpfs", "/t:size=64k,mode=750,exec", "--tmpfs", "/u", "--shm-size", "2m")
    look = (
        "grep -E ' (/t|/u|/dev/shm) ' /proc/mounts; "
        "dd if=/dev/zero of=/t/x bs=1k count=65; stat -c %a /t"
    )
    seen = minidock("run", "--rm", *flags, people, "sh", "-c", look)
    mounts = {line.split()[1]: line.split()[3].split(",") for line in seen.stdout.splitlines()[:3]}
    assert {"nosuid", "nodev", "size=64k", "mode=750"} <= set(mounts["/t"])
    assert "noexec" not in mounts["/t"] and "noexec" in mounts["/u"]
    assert "size=2048k" in mounts["/dev/shm"]
    assert "No space left" in seen.stderr and seen.stdout.splitlines()[-1] == "750"


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        (["--sysctl", "kernel.panic=1"], "kernel.panic"),
        (["--sysctl", "vm.swappiness=1"], "vm.swappiness"),
        (["--network", "host", "--sysctl", "net.ipv4.ip_forward=1"], "net.ipv4.ip_forward"),
        (["--ipc", "host", "--sysctl", "kernel.shmmax=1"], "kernel.shmmax"),
        (["--sysctl", "net/../kernel/panic=1"], "kernel"),
    ],
)
def test_settings_of_the_whole_host_are_refused(
    minidock: Minidock, people: str, flags: list[str], names: str
) -> None:
    before = Path("/proc/sys/kernel/panic").read_text()
    refused = minidock("run", "--rm", *flags, people, "true")
    assert refused.code == 125 and names in refused.stderr, str(refused)
    assert Path("/proc/sys/kernel/panic").read_text() == before


def test_settings_of_the_container_s_own_namespaces_are_made(
    minidock: Minidock, people: str
) -> None:
    flags = ("--sysctl", "net.ipv4.ip_default_ttl=99", "--sysctl", "kernel.shmmax=12345")
    look = ("cat", "/proc/sys/net/ipv4/ip_default_ttl", "/proc/sys/kernel/shmmax")
    assert minidock.ok("run", "--rm", *flags, people, *look).split() == ["99", "12345"]
