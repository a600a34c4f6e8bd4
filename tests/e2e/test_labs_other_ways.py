"""Exams look at what a program does: one that goes other ways than the solution gets all points.

tests/fixtures/labs/box.bash knows nothing of the reference: bash in place of Python, a named
network namespace, an unasked ARP in place of a MAC by address, chains of its own, doors shut by
other rules.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from minidock.teach.lab import folder
from minidock.teach.lab.folder import Files
from support.labs import examined, lost

BOX = Path(__file__).parent.parent / "fixtures" / "labs" / "box.bash"

pytestmark = pytest.mark.root


@pytest.mark.parametrize("lab", ["07", "08"])
def test_program_that_goes_other_ways_gets_all_points(lab: str) -> None:
    files = Files()
    files.put("box", BOX.read_bytes(), BOX.stat().st_mode)
    assert lost(examined(folder.find(lab), files)) == {}
