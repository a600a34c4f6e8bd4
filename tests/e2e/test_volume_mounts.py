"""Volumes that are mounts of their own: shared while used, gone with the last user of all.

What is mounted, the kernel says: /proc/mounts of the host.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from minidock.paths import Store
from support.command import Minidock
from support.machine import kill_and_wait

pytestmark = pytest.mark.root


def mounted(minidock: Minidock) -> list[str]:
    lines = Path("/proc/mounts").read_text().splitlines()
    return [line for line in lines if f"{minidock.root}/volumes/" in line]


def in_use(minidock: Minidock) -> bool:
    """Whether /run still notes a user of a volume."""
    run = minidock.ok("inspect", "-f", "{{.ResolvConfPath}}", "keeper").strip()
    assert run.startswith(minidock.root)
    return os.path.exists(f"{Store(minidock.root).run}/volumes")


def monitor_of(minidock: Minidock, name: str) -> int:
    pid = minidock.ok("inspect", "-f", "{{.State.Pid}}", name).strip()
    return int(Path(f"/proc/{pid}/status").read_text().partition("PPid:")[2].split()[0])


@pytest.fixture
def shared(minidock: Minidock, busybox_image: str) -> list[str]:
    """Two containers that run, on one volume in memory."""
    minidock.ok(
        *("volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=1m", "mem")
    )
    minidock.ok("create", "--name", "keeper", "--net", "none", busybox_image)
    names = ["one", "two"]
    for name in names:
        minidock.ok(
            *("run", "-d", "--name", name, "--net", "none", "-v", "mem:/v"),
            *(busybox_image, "sleep", "1000"),
        )
    return names


def test_the_last_user_takes_the_mount_away(minidock: Minidock, shared: list[str]) -> None:
    minidock.ok("exec", "one", "sh", "-c", "echo hello > /v/f")
    assert minidock.ok("exec", "two", "cat", "/v/f") == "hello"
    assert len(mounted(minidock)) == 1 and " tmpfs " in mounted(minidock)[0]
    assert minidock("volume", "rm", "mem").code == 1
    minidock.ok("rm", "-f", "one")
    assert minidock.ok("exec", "two", "cat", "/v/f") == "hello"
    minidock.ok("restart", "-t", "0", "two")
    assert minidock.ok("exec", "two", "ls", "/v") == ""
    minidock.ok("rm", "-f", "two")
    assert mounted(minidock) == [] and not in_use(minidock)
    minidock.ok("volume", "rm", "mem")


def test_a_killed_monitor_leaves_no_mount(minidock: Minidock, shared: list[str]) -> None:
    for name in shared:
        kill_and_wait(monitor_of(minidock, name))
    told = minidock.ok("ps", "-a", "--filter", "name=one", "--format", "{{.Status}}")
    assert "Exited (137)" in told
    assert mounted(minidock) == [] and not in_use(minidock)
    minidock.ok("start", "one")
    assert minidock.ok("exec", "one", "sh", "-c", "df -k /v | tail -1").split()[1] == "1024"
    minidock.ok("rm", "-f", "one", "two")
    minidock.ok("system", "down")


def test_a_directory_of_the_stores_own_file_system_takes_the_image_s_files_and_outlives_its_volume(
    minidock: Minidock, busybox_image: str, store: Store
) -> None:
    directory = Path(store.root, "shared")
    directory.mkdir()
    assert directory.stat().st_dev == Path(store.volumes).parent.stat().st_dev
    options = ("-o", "type=none", "-o", "o=bind", "-o", f"device={directory}")
    minidock.ok("volume", "create", *options, "data")
    run = ("run", "--rm", "--net", "none", "-v", "data:/bin", busybox_image)
    minidock.ok(*run, "/bin/busybox", "true")
    assert (directory / "busybox").stat().st_mode & 0o111
    minidock.ok(*run, "/bin/busybox", "touch", "/bin/mine")
    minidock.ok("volume", "rm", "data")
    assert {"busybox", "mine"} <= set(os.listdir(directory))
    assert mounted(minidock) == []


def test_what_cannot_be_mounted_leaves_nothing(minidock: Minidock, busybox_image: str) -> None:
    minidock.ok("create", "--name", "keeper", "--net", "none", busybox_image)
    options = ("-o", "type=none", "-o", "o=bind", "-o", "device=/nosuch")
    minidock.ok("volume", "create", *options, "gone")
    failed = minidock("run", "--rm", "--net", "none", "-v", "gone:/v", busybox_image, "true")
    assert failed.code == 127 and "/nosuch" in failed.stderr
    assert mounted(minidock) == [] and not in_use(minidock)


def test_a_part_of_a_volume_never_leads_out_of_it(
    minidock: Minidock, busybox_image: str, tmp_path: Path
) -> None:
    """A link in the volume that names a directory of the host."""
    (tmp_path / "secret").write_text("of the host")
    minidock.ok(
        *("run", "--rm", "--net", "none", "-v", "vol:/v", busybox_image),
        *("ln", "-s", str(tmp_path), "/v/link"),
    )
    told = minidock(
        *("run", "--rm", "--net", "none", "--mount"),
        *("type=volume,src=vol,dst=/w,volume-subpath=link", busybox_image, "cat", "/w/secret"),
    )
    assert told.code == 127 and "of the host" not in told.stdout
