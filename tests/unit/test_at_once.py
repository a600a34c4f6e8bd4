"""What another command, or another stage of a build, does in the middle of something.

The other one's act is put where it hurts: between two system calls of the one under test.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from minidock import document
from minidock.cli.output import sizes
from minidock.engine.build import prune, run_mounts, stages
from minidock.engine.build.run_mount_flag import Mount
from minidock.engine.build.run_step import RunningCommands
from minidock.engine.build.source_tree import Tree
from minidock.engine.container import volumes
from minidock.engine.image import build_cache
from minidock.engine.image.image import Image
from minidock.engine.image.images import ImageStore
from minidock.paths import Store


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
        in_a_thread(lambda: document.write(str(path), b"theirs", durable=False))

    monkeypatch.setattr(os, "rename", before_first(os.rename, other))
    document.write(str(path), b"ours", durable=False)
    assert path.read_bytes() == b"ours"
    assert os.listdir(tmp_path) == ["record"]


def cache_mount() -> Mount:
    return Mount("cache", {"target": "/c", "id": "shared"})


def test_cache_that_two_steps_make_at_once_is_one_directory(tmp_path: Path) -> None:
    """The other step may have mounted it already, and have written nothing yet."""
    store = Store(str(tmp_path))
    first, second = cache_mount(), cache_mount()
    made = []

    def other(folder: str) -> None:
        run_mounts.acquire_cache(second, store, check_cancelled=lambda: None)
        made.append(os.stat(second.host_path).st_ino)

    run_mounts.acquire_cache(first, store, check_cancelled=lambda: None, fill=other)
    run_mounts.release([first, second])
    assert first.host_path == second.host_path
    assert os.stat(first.host_path).st_ino == made[0]
    assert sorted(os.listdir(os.path.dirname(first.host_path))) == ["data", "lock", "new.lock"]


def test_cache_is_listed_while_it_is_pruned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(str(tmp_path))
    os.makedirs(store.build_steps)
    layer = b"sha256:" + b"0" * 64
    record = (
        b'{"diff_id": "%b", "chain_id": "%b", "created": "", "size": 1, "says": "RUN true"}'
        % (layer, layer)
    )
    Path(store.build_step("a" * 64)).write_bytes(record)
    (used,) = [record["used"] for _, record in build_cache.records(store)]
    assert used == os.stat(store.build_step("a" * 64)).st_mtime
    stat = before_first(os.stat, lambda: os.unlink(store.build_step("a" * 64)))
    monkeypatch.setattr(os, "stat", stat)
    assert list(build_cache.records(store)) == [], "it has just gone"

    run_mounts.acquire_cache(mount := cache_mount(), store, check_cancelled=lambda: None)
    run_mounts.release([mount])
    home = Path(mount.host_path).parent
    stat = before_first(os.stat, lambda: home.rename(tmp_path / "gone"))
    monkeypatch.setattr(os, "stat", stat)
    assert prune._mounts(store) == []


def test_stage_does_not_wait_for_one_that_was_never_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ctrl-C comes, or the machine has no more threads, between the start of two stages."""
    first, second = (SimpleNamespace(number=n, shown=f"stage-{n}") for n in range(2))
    builder: Any = SimpleNamespace(
        plan=SimpleNamespace(needed=[first, second]),
        promises={},
        failures=[],
        running=RunningCommands(),
    )
    monkeypatch.setattr(stages, "_build_stage", lambda *_: builder.promises[id(second)].result())
    start = threading.Thread.start

    def start_or_not(thread: threading.Thread) -> None:
        if thread.name == second.shown:
            raise KeyboardInterrupt
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_or_not)
    with pytest.raises(KeyboardInterrupt):
        stages.build_stages(builder, SimpleNamespace())


def test_file_of_a_context_that_goes_while_it_is_listed_is_not_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "main.c").touch()
    (tmp_path / ".main.c.swp").touch()
    listdir = os.listdir

    def listed(directory: int) -> list[str]:
        names = listdir(directory)
        (tmp_path / ".main.c.swp").unlink(missing_ok=True)
        return names

    monkeypatch.setattr(os, "listdir", listed)
    root = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    with Tree(root, what="the build context") as tree:
        top = tree.open("")
        assert [entry.path for entry in tree.children(top)] == ["main.c"]
        top.close()


def test_volumes_are_listed_while_one_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(str(tmp_path))
    for name in ("gone", "kept"):
        volumes.create(store, name, options={}, labels={})
    removed = before_first(volumes.inspect, lambda: volumes.remove(store, "gone"))
    monkeypatch.setattr(volumes, "inspect", removed)
    assert [volume["Name"] for volume in volumes.list(store)] == ["kept"]


def test_file_that_goes_while_a_tree_is_weighed_weighs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stays").write_bytes(b"123")
    (tmp_path / "goes").write_bytes(b"12345")
    listdir = os.listdir

    def listed(directory: int) -> list[str]:
        found = listdir(directory)
        (tmp_path / "goes").unlink()
        return found

    monkeypatch.setattr(os, "listdir", listed)
    assert sizes.tree_bytes(str(tmp_path)) == 3


def test_images_are_weighed_while_nobody_can_remove_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(str(tmp_path))

    def removed_meanwhile(images: ImageStore) -> list[Image]:
        with open(store.lock, encoding="ascii") as lock, pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return []

    monkeypatch.setattr(ImageStore, "list", removed_meanwhile)
    assert sizes.images_and_layers(store) == ([], {}, {})
