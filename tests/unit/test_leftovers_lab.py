"""What a lab's set-up has left: what is another's by the time it would be removed stays."""

from __future__ import annotations

import os
from pathlib import Path

from minidock.engine.leftovers.lab import find_lab_files, lab_lock
from minidock.paths import Store


def test_what_a_new_set_up_has_taken_is_not_removed(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    os.makedirs(f"{store.lab}/image/shop")
    found = list(find_lab_files(store))
    assert [thing.name for thing in found] == [f"{store.lab}/image"]
    Path(store.lab_note).write_text("{}")  # somebody begins one
    for thing in found:
        thing.remove()
    assert os.listdir(f"{store.lab}/image") == ["shop"]
    os.unlink(store.lab_note)
    for thing in found:
        thing.remove()
    assert not os.path.exists(store.lab)


def test_the_directory_goes_with_its_lock_unless_something_is_in_it(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    with lab_lock(store):
        assert os.path.isdir(store.lab)
    assert not os.path.exists(store.lab)
    with lab_lock(store):
        Path(store.lab, "theirs").touch()
    assert os.listdir(store.lab) == ["theirs"]
