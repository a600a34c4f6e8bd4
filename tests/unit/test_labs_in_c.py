"""In C each lab's start is whole by itself; it is the solution before it all the same."""

from __future__ import annotations

from itertools import pairwise

import pytest

from minidock.teach.lab import folder
from minidock.teach.lab.folder import Lab

IN_C = [lab for lab in folder.every() if "c" in lab.languages()]
GROW = {"box.c", "box.h"}  # each lab has more options and parts than the one before


@pytest.mark.parametrize(("before", "lab"), list(pairwise(IN_C)), ids=lambda lab: str(lab.name))
def test_a_start_in_c_has_the_files_of_the_solution_before(before: Lab, lab: Lab) -> None:
    solved, start = before.solution("c"), lab.start("c")
    own = {name for name in start.names() if "TODO" in start.text(name)}
    others = {
        name
        for name in set(solved.names()) - GROW - own
        if name not in start or start.text(name) != solved.text(name)
    }
    assert others == set()
