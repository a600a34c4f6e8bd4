"""The box of labs 05 and 11 as root of the whole machine, where no exam can hold it.

There overlayfs keeps its marks in trusted.*; in the grader's place they are user.*.
"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from minidock.teach.lab import folder
from support.command import Minidock
from support.patience import patience

pytestmark = pytest.mark.root

OPAQUE = "trusted.overlay.opaque"
WRITES = "rm /etc/shadow; rm -r /var/spool; mkdir /var/spool; touch /var/spool/new; chmod 700 /home"
LISTING = "find /bin /etc /home /root /usr /var | xargs stat -c '%n %F %a %u:%g' | sort"
MADE_AT_RUN = {"/etc/hostname", "/etc/hosts", "/etc/mtab", "/etc/resolv.conf"}

Box = Callable[..., str]


@pytest.fixture
def box(tmp_path: Path) -> Box:
    """The reference solution of the last lab, which has a store of its own."""
    program = tmp_path / "program"
    program.mkdir()
    folder.find("11").solution().write(str(program))

    def run(*argv: str) -> str:
        done = subprocess.run(
            [sys.executable, str(program / "box"), *argv],
            cwd=tmp_path,
            env={**os.environ, "BOX_STORE": str(tmp_path / "store")},
            capture_output=True,
            text=True,
            timeout=patience(60),
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def files(listing: str) -> list[str]:
    """The lines of LISTING about files that come from the image."""
    return [line for line in listing.splitlines() if line.split()[0] not in MADE_AT_RUN]


def test_upper_has_the_marks_of_the_whole_machine(
    box: Box, busybox_tar: Path, tmp_path: Path
) -> None:
    (tmp_path / "rootfs").mkdir()
    subprocess.run(["tar", "-xf", busybox_tar, "-C", tmp_path / "rootfs"], check=True)
    (tmp_path / "site/etc").mkdir(parents=True)

    box("run", "--layer", "site", "--upper", "writes", "rootfs", "sh", "-c", WRITES)

    removed = os.stat(tmp_path / "writes/etc/shadow")
    assert stat.S_ISCHR(removed.st_mode) and removed.st_rdev == 0
    assert os.getxattr(tmp_path / "writes/var/spool", OPAQUE) == b"y"
    said = box("diff", "writes").splitlines()
    assert {"D /etc/shadow", "O /var/spool", "W /var/spool/new", "W /home"} <= {*said}
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()
    assert {*os.listdir(tmp_path)} == {"program", "rootfs", "site", "writes"}


def test_an_image_that_minidock_saved_has_the_same_files_in_the_box(
    box: Box, minidock: Minidock, busybox_image: str, tmp_path: Path
) -> None:
    minidock.ok("run", "--name", "made", busybox_image, "sh", "-c", WRITES)
    minidock.ok("commit", "made", "made:1")
    minidock.ok("save", "-o", str(tmp_path / "made.tar"), "made:1")

    assert box("load", "made.tar") == "made:1\n"

    in_the_box = files(box("run", "made:1", "sh", "-c", LISTING))
    assert in_the_box == files(minidock.ok("run", "--rm", "made:1", "sh", "-c", LISTING))
    names = {line.split()[0] for line in in_the_box}
    assert "/var/spool/new" in names and not names & {"/etc/shadow", "/var/spool/mail"}
