"""The file of events: nothing of it is lost while it is set aside, and a full disk hurts nobody."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from minidock import document
from minidock.engine.store import event_log
from minidock.errors import DamagedFile
from minidock.paths import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


def test_follower_sees_no_event_twice_and_the_last_one_when_files_are_set_aside(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_log, "_LONGEST_BYTES", 20_000)
    monkeypatch.setattr(event_log, "_POLL_SECONDS", 0.001)
    seen: list[str] = []

    def follow() -> None:
        for event in event_log.read(store, since=0, until=None, follow=True):
            seen.append(event["Actor"]["ID"])
            if event["Actor"]["ID"] == "last":
                return

    reader = threading.Thread(target=follow)
    reader.start()
    for number in range(1000):
        event_log.emit(store, "volume", "create", str(number), driver="local")
    event_log.emit(store, "volume", "create", "last")
    reader.join(timeout=30)
    assert os.path.exists(f"{store.events}.1")
    assert len(seen) == len(set(seen))
    assert seen[-1] == "last"


def test_event_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "gone"))
    event_log.emit(store, "volume", "create", "x")
    assert not os.path.exists(store.root)
    os.makedirs(store.root)
    event_log.emit(store, "volume", "create", "y")
    (told,) = event_log.read(store, since=0, until=None, follow=False)
    assert told["Actor"]["ID"] == "y"


def test_events_are_filtered_by_time(store: Store) -> None:
    for name in ("a", "b"):
        event_log.emit(store, "volume", "create", name)
    told = list(event_log.read(store, since=0, until=None, follow=False))
    assert [event["Actor"]["ID"] for event in told] == ["a", "b"]
    between = told[0]["timeNano"] / 1e9
    assert list(event_log.read(store, since=0, until=between - 1, follow=False)) == []


@pytest.mark.parametrize(
    "left",
    [b'{"Type":"vol', bytes(3000), b'{"Ty\0\0', bytes(9) + b'e"}\n'],
    ids=["half a line", "a block", "half a line and a block", "a block and the end of a line"],
)
def test_what_a_power_cut_left_hides_no_other_event(
    store: Store, monkeypatch: pytest.MonkeyPatch, left: bytes
) -> None:
    damaged: list[DamagedFile] = []
    monkeypatch.setattr(document, "_listener", damaged.append)
    event_log.emit(store, "volume", "create", "before")
    with open(store.events, "ab") as file:
        file.write(left)
    for name in ("after", "last"):
        event_log.emit(store, "volume", "create", name)
    told = event_log.read(store, since=0, until=None, follow=False)
    assert [event["Actor"]["ID"] for event in told] == ["before", "after", "last"]
    assert damaged == []
