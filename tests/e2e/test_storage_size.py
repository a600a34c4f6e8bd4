"""--storage-opt size=: the container's own layer has so much room; nothing of it stays mounted.

Whether something is mounted or held, the kernel says: /proc/mounts, and sysfs of the loop devices.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from support.command import Minidock
from support.patience import patience

pytestmark = pytest.mark.root

SIZE_KIB = 20 << 10
FILL = "dd if=/dev/zero of=/f bs=1M 2>&1 | head -1; df -k / | tail -1"


@pytest.fixture
def box(minidock: Minidock, busybox_image: str) -> Iterator[str]:
    """A container of 20 MiB that runs; its id."""
    if not Path("/dev/loop-control").exists():
        pytest.skip("this kernel has no loop devices")
    container = minidock.ok(
        *("run", "-d", "--name", "box", "--net", "none", "--storage-opt", "size=20m"),
        *(busybox_image, "sh", "-c", "echo one > /one; sleep 1000"),
    ).strip()
    minidock.ok("exec", "box", "sh", "-c", "until [ -s /one ]; do sleep 0.01; done")
    yield container
    minidock("rm", "-f", "box")


def held(minidock: Minidock) -> list[str]:
    """Mounts and loop devices that are of a store."""
    found = [line for line in Path("/proc/mounts").read_text().splitlines() if "/space " in line]
    for file in Path("/sys/block").glob("loop*/loop/backing_file"):
        with suppress(OSError):  # another test's device may be freed while it is looked at
            found.append(file.read_text().strip())
    return [text for text in found if minidock.root in text]


def lets_go(minidock: Minidock) -> bool:
    """Whether nothing is held, soon: the kernel frees a device a moment after its mount."""
    deadline = time.monotonic() + patience(5)
    while held(minidock):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_a_full_container_is_full_inside_only(minidock: Minidock, box: str) -> None:
    store_before = os.statvfs(minidock.root)
    told = minidock.ok("exec", "box", "sh", "-c", FILL).splitlines()
    assert "No space left on device" in told[0]
    total, _, free, used = told[1].split()[1:5]
    assert 0.8 * SIZE_KIB < int(total) <= SIZE_KIB and int(free) < 2048 and int(used[:-1]) > 90
    store = os.statvfs(minidock.root)
    assert store.f_bavail * store.f_frsize > 2 * (SIZE_KIB << 10) or store_before.f_bavail == 0
    other = minidock.ok(
        *("run", "--rm", "--net", "none", "-v", "vol:/v", "busybox"),
        *("sh", "-c", "head -c 30000000 /dev/zero > /v/big; wc -c < /v/big"),
    )
    assert other == "30000000"
    disk = Path(minidock.root, "containers", box, "disk")
    minidock.ok("exec", "box", "sh", "-c", "rm /f; sync; rm -f /g")
    assert disk.stat().st_size == SIZE_KIB << 10
    assert minidock.ok("exec", "box", "sh", "-c", "echo more > /g; cat /g") == "more"


def test_what_it_wrote_is_there_when_it_is_stopped_and_started(
    minidock: Minidock, box: str, tmp_path: Path
) -> None:
    assert len(held(minidock)) == 2
    minidock.ok("stop", "-t", "0", "box")
    assert lets_go(minidock)
    assert minidock.ok("diff", "box") == "A /one"
    assert minidock.ok("cp", "box:/one", "-").count("one")
    assert minidock.ok("ps", "-as", "--format", "{{.Size}}").startswith("4B")
    minidock.ok("export", "-o", str(tmp_path / "tar"), "box")
    listed = subprocess.run(["tar", "-tf", str(tmp_path / "tar")], capture_output=True, text=True)
    assert "one" in listed.stdout.splitlines()
    minidock.ok("commit", "box", "copy")
    assert minidock.ok("run", "--rm", "--net", "none", "copy", "cat", "/one") == "one"
    assert lets_go(minidock)
    minidock.ok("start", "box")
    assert minidock.ok("exec", "box", "cat", "/one") == "one"


def test_nothing_is_held_after_a_killed_monitor_and_rm(minidock: Minidock, box: str) -> None:
    monitor = int(minidock.ok("inspect", "-f", "{{.State.Pid}}", "box"))
    status = Path(f"/proc/{monitor}/status").read_text()
    parent = int(status.partition("PPid:")[2].split()[0])
    os.kill(parent, signal.SIGKILL)
    assert "Exited (137)" in minidock.ok("ps", "-a", "--format", "{{.Status}}")
    assert lets_go(minidock)
    minidock.ok("start", "box")
    assert minidock.ok("exec", "box", "cat", "/one") == "one"
    minidock.ok("rm", "-f", "box")
    assert lets_go(minidock)
    assert os.listdir(f"{minidock.root}/containers") in ([], [".lock"])


def test_a_layer_is_never_mounted_twice(minidock: Minidock, box: str) -> None:
    """Two file systems on one file would destroy it: all see the same one."""
    minidock.ok("stop", "-t", "0", "box")
    acts = [["diff", "box"], ["start", "box"], ["diff", "box"], ["ps", "-as"]]
    results = []
    threads = [threading.Thread(target=lambda a=a: results.append(minidock(*a))) for a in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [str(r) for r in results if r.code] == []
    minidock.ok("exec", "box", "sh", "-c", "echo two > /two; cat /one")
    minidock.ok("stop", "-t", "0", "box")
    assert lets_go(minidock)
    disk = next(Path(minidock.root, "containers").glob("*/disk"))
    checked = subprocess.run(["/usr/sbin/e2fsck", "-fn", str(disk)], capture_output=True)
    assert checked.returncode == 0, checked.stdout.decode()


def test_it_starts_again_while_another_mount_namespace_keeps_its_layer(
    minidock: Minidock, box: str
) -> None:
    """As any `unshare --mount`, begun while the container ran, keeps all that was mounted then."""
    holder = subprocess.Popen(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", "echo up; exec sleep 1000"],
        stdout=subprocess.PIPE,
    )
    try:
        assert holder.stdout is not None and holder.stdout.readline() == b"up\n"
        minidock.ok("stop", "-t", "0", "box")
        assert "space" in Path(f"/proc/{holder.pid}/mounts").read_text()
        assert minidock.ok("diff", "box") == "A /one"
        minidock.ok("start", "box")
        assert minidock.ok("exec", "box", "cat", "/one") == "one"
        (device,) = (line for line in held(minidock) if line.endswith("/disk"))
        minidock.ok("exec", "box", "sh", "-c", "echo two > /two")
        minidock.ok("stop", "-t", "0", "box")
    finally:
        holder.kill()
        holder.wait()
    assert lets_go(minidock)
    checked = subprocess.run(["/usr/sbin/e2fsck", "-fn", device], capture_output=True)
    assert checked.returncode == 0, checked.stdout.decode()


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("colour=blue", "Unknown option colour"),
        ("size=much", "invalid size"),
        ("size=1m", "too small"),
    ],
)
def test_other_options_are_refused_and_leave_nothing(
    minidock: Minidock, busybox_image: str, option: str, words: str
) -> None:
    refused = minidock("create", "--storage-opt", option, busybox_image)
    assert refused.code == 1 and words in refused.stderr
    assert minidock.ok("ps", "-aq") == ""
