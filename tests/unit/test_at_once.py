"""What another command, or another stage of a build, does in the middle of something.

The other one's act is put where it hurts: between two system calls of the one under test.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minidock.engine.store import write_file


def in_a_thread(act: Callable[[], object]) -> None:
    thread = threading.Thread(target=act)
    thread.start()
    thread.join()


def before_first(call: Callable[..., Any], act: Callable[[], object]) -> Callable[..., Any]:
    """A call before whose first time something else happens."""
    left = [act]

    def wrapped(*arguments: Any, **options: Any) -> Any:
        if left:
            left.pop()()
        return call(*arguments, **options)

    return wrapped


def test_two_threads_write_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "record"

    def other() -> None:
        in_a_thread(lambda: write_file(str(path), b"theirs"))

    monkeypatch.setattr(os, "rename", before_first(os.rename, other))
    write_file(str(path), b"ours")
    assert path.read_bytes() == b"ours"
    assert os.listdir(tmp_path) == ["record"]
