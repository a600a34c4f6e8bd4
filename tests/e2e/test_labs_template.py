"""The template of a lab is one: a copy of it is graded by the rules of all labs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from minidock.teach.lab.folder import Lab
from support.command import REPOSITORY
from support.labs import examined, lost, mutants, points, what_is_lost

pytestmark = pytest.mark.root


def test_a_copy_of_the_template_is_graded_as_every_lab(tmp_path: Path) -> None:
    folder = tmp_path / "12-limits"
    shutil.copytree(REPOSITORY / "labs/template", folder)
    (folder / "exam_NN.py").rename(folder / "exam_12.py")
    lab = Lab(str(folder))
    assert lost(examined(lab, lab.solution())) == {}
    assert points(examined(lab, lab.start())) == 0
    for mutant in mutants(lab):
        assert sorted(what_is_lost(mutant)) == sorted(mutant.loses), mutant.id
