"""`where` of a container that ends while it is looked at: looked at again, up to a point."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from minidock.errors import Conflict
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

    monkeypatch.setattr(view, "_whole", look)
    monkeypatch.setattr(view, "settled", lambda store, container_id: BOX)
    return left


BOX: Any = SimpleNamespace(store=None, id="4f", name="again")


@pytest.mark.parametrize("failing", [0, 1, 2, 5])
def test_it_is_looked_at_until_a_look_is_whole(looks: list[int], failing: int) -> None:
    looks[0] = failing
    assert view.whole_container(BOX) == "whole"  # type: ignore[comparison-overlap]


def test_one_that_never_holds_still_is_said_to_be_so(looks: list[int]) -> None:
    looks[0] = 1000
    with pytest.raises(Conflict, match="again ends and begins again faster"):
        view.whole_container(BOX)
