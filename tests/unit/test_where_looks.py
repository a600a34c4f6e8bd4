"""`where` and `ns` of a container that ends while it is looked at: it is seen to have ended."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from minidock.errors import Conflict
from minidock.kernel.mountinfo import mount_table
from minidock.teach.ns import container_namespaces, ns
from minidock.teach.where import container as view


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many more looks fail; those that were taken are counted down."""
    left = [0]

    def look(container: Any) -> str:
        left[0] -= 1
        if left[0] >= 0:
            raise FileNotFoundError("/proc/71/ns/pid")
        return "whole"

    monkeypatch.setattr(view, "_locate", look)
    monkeypatch.setattr(view, "_PAUSE_SECONDS", 0)
    monkeypatch.setattr(view, "wait_until_settled", lambda store, container_id: BOX)
    return left


BOX: Any = SimpleNamespace(store=None, id="4f", name="again")


@pytest.mark.parametrize("failing", [0, 1, 2, 5])
def test_it_is_looked_at_until_a_look_is_whole(looks: list[int], failing: int) -> None:
    looks[0] = failing
    assert view.locate_container(BOX) == "whole"  # type: ignore[comparison-overlap]


def test_one_that_never_holds_still_is_said_to_be_so(looks: list[int]) -> None:
    looks[0] = 1000
    with pytest.raises(Conflict, match="again restarts faster"):
        view.locate_container(BOX)


@pytest.fixture(params=["nobody has waited for it yet", "it is gone"])
def ended(request: pytest.FixtureRequest) -> Iterator[int]:
    """A process that has ended."""
    process = subprocess.Popen(["true"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    if request.param == "it is gone":
        process.wait()
    yield process.pid
    process.wait()


def test_its_mounts_are_those_of_a_process_that_has_ended(ended: int) -> None:
    with pytest.raises((FileNotFoundError, ProcessLookupError)):
        mount_table(ended)
    root = Path("/proc/self/mountinfo").read_text().splitlines()[0]  # others come and go
    assert mount_table("self")[0] == root


def test_its_namespaces_are_gone(ended: int) -> None:
    member = ns.Member("box", "4f", "self")
    member.pid = ended  # it ran when it was listed
    box: Any = SimpleNamespace(id="4f", name="box", restarting=False)
    with pytest.raises(Conflict, match="container box has just ended"):
        container_namespaces.list_namespaces(box, [member])


@pytest.mark.parametrize("error", [PermissionError, ProcessLookupError])
def test_who_ends_on_the_way_to_its_namespace_has_ended(
    error: type[OSError], monkeypatch: pytest.MonkeyPatch
) -> None:
    stat = os.stat

    def late(path: Any, **flags: Any) -> os.stat_result:
        if "/ns/" in str(path):
            raise error(path)
        return stat(path, **flags)

    monkeypatch.setattr(os, "stat", late)
    with pytest.raises(FileNotFoundError):
        ns.inode_of(2**22 + 1, "mnt")
    with pytest.raises(error):  # we live: then it is what it says
        ns.inode_of("self", "mnt")
