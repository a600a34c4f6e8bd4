"""commit, save and export that are killed midway leave nothing, and the container goes on."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from minidock.paths import Store
from support.command import Minidock
from support.patience import await_true

pytestmark = pytest.mark.root

# Large enough to be at work for seconds, and a hole: it costs no disk.
FILL = "truncate -s 20G /hole; exec sleep 1000"


@pytest.fixture
def busy(minidock: Minidock, busybox_image: str) -> str:
    minidock.ok("run", "-d", "--name", "busy", "--net", "none", busybox_image, "sh", "-c", FILL)
    await_true(lambda: status(minidock) == "running")
    minidock.ok("exec", "busy", "sh", "-c", "until [ -e /hole ]; do sleep .1; done")
    return "busy"


def status(minidock: Minidock) -> str:
    return minidock.ok("inspect", "-f", "{{.State.Status}}", "busy")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_commit_that_is_killed_lets_its_container_go_on(
    minidock: Minidock, store: Store, busy: str, number: signal.Signals
) -> None:
    committing = minidock.start("commit", busy, "never:1", process_group=0)
    await_true(lambda: status(minidock) == "paused")
    if number == signal.SIGINT:
        os.killpg(committing.pid, number)  # as Ctrl-C does
    else:
        committing.send_signal(number)
    committing.communicate()
    assert committing.returncode not in (0, None)
    await_true(lambda: status(minidock) == "running")
    assert minidock.ok("exec", busy, "echo", "alive") == "alive"
    assert "never" not in minidock.ok("images")
    minidock.ok("tag", "busybox", "other")  # the next change of the store removes it
    assert os.listdir(store.staging) == []
    minidock.ok("rm", "-f", busy)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_export_that_is_killed_leaves_no_file(
    minidock: Minidock, busy: str, tmp_path: Path, number: signal.Signals
) -> None:
    (tmp_path / "out").mkdir()
    exporting = minidock.start("export", "-o", f"{tmp_path}/out/x.tar", busy, stderr=None)
    await_true(lambda: is_writing(exporting, tmp_path / "out"))
    exporting.send_signal(number)
    exporting.communicate()
    assert os.listdir(tmp_path / "out") == []
    minidock.ok("rm", "-f", busy)


def is_writing(process: subprocess.Popen[bytes], folder: Path) -> bool:
    """Whether a process has a file open that is, or was never, in a folder."""
    for link in Path(f"/proc/{process.pid}/fd").glob("*"):
        with suppress(FileNotFoundError):  # closed meanwhile
            if os.readlink(link).startswith(str(folder)):
                return True
    return False
