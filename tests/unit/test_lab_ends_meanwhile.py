"""What the labs read of processes, threads and links that end while they are looked at."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from minidock.paths import Store
from minidock.teach.lab import adopted_children, enter_sandbox
from minidock.teach.lab.failure import Failure
from minidock.teach.lab.quiz import kernel
from minidock.teach.lab.quiz import scene as quiz
from minidock.teach.lab.quiz.scene import Scene


@pytest.fixture
def sleeping() -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen(["sleep", "1000"])
    yield child
    child.kill()
    child.wait()


@pytest.fixture
def ended() -> int:
    """A pid that was somebody's."""
    child = subprocess.Popen(["true"])
    child.wait()
    return child.pid


def test_a_link_that_goes_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "links", lambda: ["gone0", "lo"])
    assert kernel.link_by_index(1) == "lo"


def test_a_process_is_found_beside_one_that_ends(
    sleeping: subprocess.Popen[bytes], ended: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Scene, "pids", lambda self, *, name="": [ended, sleeping.pid])
    assert Scene(Store("/nowhere")).process("sleep 1000") == sleeping.pid


def test_pid_1_is_found_beside_one_that_ends(ended: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scene, "pids", lambda self, *, name="": [ended, 1])
    assert Scene(Store("/nowhere")).pid == 1


def test_a_process_that_is_gone_at_a_second_look_has_ended(
    sleeping: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def status(pid: int, field: str) -> str:
        looks.append(pid)
        sleeping.kill()
        sleeping.wait()
        return kernel.status(pid, field)

    looks: list[int] = []
    monkeypatch.setattr(quiz, "status", status)
    Scene(Store("/nowhere")).wait_until_exited(sleeping.pid)
    assert looks == [sleeping.pid]  # none after the one that found nobody


def test_a_thread_that_ends_has_no_strangers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of others are found: this very process may have got some by other tests."""
    before = adopted_children._list_adopted()
    threads = ["999999999", *os.listdir("/proc/self/task")]
    monkeypatch.setattr(os, "listdir", lambda path: threads)
    assert {*before} <= {*adopted_children._list_adopted()}


def test_nobody_gets_into_a_process_that_ends(
    sleeping: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one that is reaped between two steps of a path's walk, /proc says EACCES."""
    opened: Callable[..., int] = os.open

    def refused(path: Any, *arguments: Any, **more: Any) -> int:
        if path == f"/proc/{sleeping.pid}/root":
            raise PermissionError(13, "Permission denied")
        return opened(path, *arguments, **more)

    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(Failure, match=f"process {sleeping.pid} has ended"):
        enter_sandbox.enter(
            sleeping.pid, ["mount"], ["true"], program="/bin/true", environment={},
            streams=(0, 1, 2), chroot=True,
        )  # fmt: skip
