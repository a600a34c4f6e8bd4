"""Mounts made below a volume: who sees them, the host or the container, as its propagation says."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.command import Minidock

pytestmark = pytest.mark.root

MOUNT = "mkdir -p /v/in && mount -t tmpfs in /v/in"


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Path]:
    """A directory that is a shared mount of its own."""
    subprocess.run(["mount", "--bind", tmp_path, tmp_path], check=True)
    for propagation in ("private", "shared"):  # not a peer of /, which may be shared itself
        subprocess.run(["mount", f"--make-{propagation}", tmp_path], check=True)
    yield tmp_path
    subprocess.run(["umount", "-R", tmp_path], check=True)


@pytest.mark.parametrize(("word", "comes_out"), [("rprivate", 0), ("rslave", 0), ("rshared", 1)])
def test_a_mount_made_below_a_volume_comes_out_only_where_it_is_shared(
    minidock: Minidock, busybox_image: str, shared: Path, word: str, comes_out: int
) -> None:
    volume = ("-v", f"{shared}:/v:{word}", "--cap-add", "SYS_ADMIN")
    minidock.ok("run", "--rm", "--net", "none", *volume, busybox_image, "sh", "-c", MOUNT)
    mounts = Path("/proc/self/mountinfo").read_text()
    assert mounts.count(f" {shared}/in ") == comes_out
    assert " /proc " in mounts, "the host's own are there"
    assert f"{minidock.root}/containers/" not in mounts, "and none of the container's others"


def test_a_source_that_is_not_shared_is_refused_in_docker_s_words(
    minidock: Minidock, busybox_image: str, shared: Path
) -> None:
    subprocess.run(["mount", "--make-private", shared], check=True)
    for word, wanted in (("rshared", "a shared"), ("slave", "a shared or slave")):
        volume = ("-v", f"{shared}:/v:{word}")
        result = minidock("run", "--rm", "--net", "none", *volume, busybox_image, "true")
        assert result.code == 125
        assert f"path {shared} is mounted on {shared} but it is not {wanted} mount" in result.stderr
    assert minidock.ok("ps", "-aq") == ""
