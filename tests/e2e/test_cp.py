"""cp stays inside the container, leaves nothing, and copies much in little memory.

Where a copy goes and what it is called is held against docker in tests/parity/cp.sh.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support.command import Minidock, command_line, environment
from support.machine import mounts
from support.patience import patience

pytestmark = pytest.mark.root

# What a container can put where somebody will copy to or from.
LINKS = ("ln -s {outside} /absolute; ln -s ../../../../..{outside} /climbing; "
         "ln -s /proc/1/root{outside} /proc-link; mkdir /trap; "
         "ln -s {outside} /trap/folder")  # fmt: skip
NAMES = ("absolute", "climbing", "proc-link", "trap/folder")


@pytest.mark.parametrize("state", ["running", "with the host's processes", "stopped"])
def test_links_of_the_container_do_not_lead_out_of_it(
    state: str, minidock: Minidock, busybox_image: str, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("the host's")
    (tmp_path / "planted").write_text("planted")
    pid = ("--pid", "host") if state.startswith("with") else ()
    command = f"{LINKS.format(outside=outside)}; sleep {0 if state == 'stopped' else 1000}"
    minidock.ok("run", "-d", "--net", "none", "--name", "it", *pid, busybox_image, "sh", "-c",
                f"{command} & wait")  # fmt: skip
    deadline = time.monotonic() + patience(10)
    while minidock("cp", "it:/trap/folder", "-").code and time.monotonic() < deadline:
        time.sleep(0.05)
    if state == "stopped":
        minidock.ok("wait", "it")
    for name in NAMES:
        assert minidock("cp", f"it:/{name}/secret", "-").code == 1
        assert minidock("cp", f"it:/{name}/.", str(tmp_path / "got")).code == 1
        minidock("cp", str(tmp_path / "planted"), f"it:/{name}/planted")
        minidock("cp", str(tmp_path / "planted"), f"it:/{name}")
    assert sorted(os.listdir(outside)) == ["secret"]
    assert (outside / "secret").read_text() == "the host's"


def test_link_on_this_machine_is_not_written_through(
    minidock: Minidock, busybox_image: str, tmp_path: Path
) -> None:
    """A container's directory named as a link that is here: neither followed nor replaced."""
    (tmp_path / "precious").mkdir()
    (tmp_path / "into").mkdir()
    (tmp_path / "into/d").symlink_to(tmp_path / "precious")
    minidock.ok("run", "--net", "none", "--name", "it", busybox_image, "sh", "-c",
                "mkdir /d; echo x > /d/f")  # fmt: skip
    assert minidock("cp", "it:/d", str(tmp_path / "into")).code == 1
    assert os.listdir(tmp_path / "precious") == []


def test_killed_copy_leaves_no_mount_and_the_container_starts(
    minidock: Minidock, busybox_image: str
) -> None:
    minidock.ok("create", "--net", "none", "--name", "it", busybox_image, "true")
    copying = minidock.start("cp", "-", "it:/tmp")
    deadline = time.monotonic() + patience(10)
    children = Path(f"/proc/{copying.pid}/task/{copying.pid}/children")
    while not children.read_text() and time.monotonic() < deadline:
        time.sleep(0.01)
    copying.send_signal(signal.SIGKILL)
    copying.communicate()
    minidock.ok("start", "-a", "it")
    assert not [mount for mount in mounts() if minidock.root in mount]


def test_much_is_copied_in_little_memory(
    minidock: Minidock, busybox_image: str, tmp_path: Path
) -> None:
    with open(tmp_path / "big", "wb") as file:
        file.truncate(120 << 20)
    minidock.ok("create", "--net", "none", "--name", "it", busybox_image, "true")
    program = (
        "import resource, subprocess, sys; code = subprocess.call(sys.argv[1:]); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, code)"
    )
    for pair in ((str(tmp_path / "big"), "it:/big"), ("it:/big", str(tmp_path / "back"))):
        done = subprocess.run(
            [sys.executable, "-c", program, *command_line(), "cp", *pair],
            env=environment(minidock.root), capture_output=True, text=True, check=True,
        )  # fmt: skip
        resident_kib, code = done.stdout.split()
        assert code == "0", done.stderr
        assert int(resident_kib) < 60 << 10
    assert (tmp_path / "back").stat().st_size == 120 << 20
