"""`system check --repair` in stores by chance: what runs stays as it is, and all the rest goes.

What a scene is made of: support/leftover_scenes.py. SEEDS are those of a short run.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest

from minidock.paths import Store
from support import stores
from support.command import Minidock
from support.leftover_scenes import Scene
from support.patience import long, patience

# A scene may have a lab's fault, which takes port 8081 of the machine.
pytestmark = [
    pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.xdist_group("faults")
]  # fmt: skip

SEEDS = [2, 3, 21, 29]


@pytest.mark.parametrize("seed", long(SEEDS, [*range(1, 200)]))
def test_a_repair_takes_what_was_left_and_nothing_of_what_runs_or_is_somebodys(
    store: Store, minidock: Minidock, busybox_image: str, tmp_path: Path, seed: int
) -> None:
    scene = Scene(store, tmp_path, seed, busybox_image)
    try:
        scene.make()
        before = scene.look()
        scene.spoil()
        before["rules"] = scene.rules()  # another command may have moved our jumps first
        _repaired(scene, minidock, before)
        scene.undo()
        _all_goes(scene, store, minidock)
    except BaseException as error:
        error.add_note("\n".join(scene.told))
        raise
    finally:
        scene.undo()


def _repaired(scene: Scene, minidock: Minidock, before: dict[str, object]) -> None:
    restarts = {each: scene.restarts(each) for each in scene.waiting}
    answer = minidock("system", "check", "--repair")
    after = scene.look()
    for kind, there in before.items():
        assert _still(there, after[kind]), f"{kind}: {_changed(there, after[kind])}\n{answer}"
    assert scene.answers() == []
    deadline = time.monotonic() + patience(60)
    while any(scene.restarts(each) == count for each, count in restarts.items()):
        assert time.monotonic() < deadline, "what was between two runs is not started again"
        time.sleep(0.1)
    again = minidock("system", "check")
    if scene.stays_damaged:
        assert answer.code == 1 and "not moved" in answer.stderr, str(answer)
    else:
        assert (answer.code, again.code) == (0, 0), f"{answer}\n{again}"


def _still(before: object, after: object) -> bool:
    """Whether all that was there is there as it was; what was killed may have left a chain."""
    if isinstance(before, list) and isinstance(after, list):
        kept = [each for each in after if each in before]
        # A container that starts meanwhile, by its policy, puts its network's jumps first.
        same = sorted(map(str, kept)) == sorted(map(str, before))
        return same and _inside(kept) == _inside(before)
    if isinstance(before, dict) and isinstance(after, dict):
        return all(key in after and after[key] == value for key, value in before.items())
    return before == after


def _inside(rules: list[object]) -> list[object]:
    """The rules inside of our chains, without the jumps that lead there."""
    return [rule for rule in rules if not re.search(r" -A [A-Z]+ .*-j MINIDOCK-", str(rule))]


def _changed(before: object, after: object) -> object:
    if isinstance(before, dict) and isinstance(after, dict):
        return {k: (v, after.get(k)) for k, v in before.items() if after.get(k) != v}
    if isinstance(before, list) and isinstance(after, list):
        return [x for x in before if x not in after]
    return before, after


def _all_goes(scene: Scene, store: Store, minidock: Minidock) -> None:
    """By the commands of everybody's; what a damaged document had kept goes with a repair."""
    ids = [name for name in os.listdir(store.containers) if len(name) == 64]
    if ids:
        minidock.ok("rm", "-f", "-v", *ids)
    minidock.ok("system", "check", "--repair")
    if scene.has_lab:
        minidock.ok("lab", "fault", "--end")
    for words in (("network", "prune"), ("volume", "prune", "-a"), ("builder", "prune", "-a"),
                  ("image", "prune", "-a")):  # fmt: skip
        minidock.ok(*words, "-f")
    minidock.ok("volume", "rm", "scratch")  # prune leaves what has options, as Docker's does
    deadline = time.monotonic() + patience(5)
    while (left := [x for x in stores.leftovers(store) if not _is_theirs(x)]) and (
        time.monotonic() < deadline
    ):
        time.sleep(0.05)
    assert left == []
    answer = minidock("system", "check")
    assert answer.code == 0, str(answer)
    minidock.ok("system", "down")
    assert minidock.ok("volume", "ls", "-q") == minidock.ok("images", "-q") == ""
    assert [x for x in store_entries(store.containers) if len(x) == 64] == []


def _is_theirs(text: str) -> bool:
    return any(word in text for word in ("administrator", "notes", "README", "/vadm", "link: vadm"))


def store_entries(directory: str) -> list[str]:
    return os.listdir(directory) if os.path.isdir(directory) else []
