"""The labs' exams: what the solution, the skeleton, and each seeded defect of the solution get.

A lab is data (labs/NN-name): a new one, or a new mutant of one, is tested by being there. One of
them: `pytest tests/e2e/test_labs.py -k 03`. MINIDOCK_LABS_TIMES=20 repeats each solution, four at
a time; so does `make long`.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from minidock.teach.lab.folder import Lab
from support.command import command_line, environment
from support.labs import LABS, Mutant, examined, in_comments, lost, mutants, points, what_is_lost
from support.patience import long, patience, steps

pytestmark = pytest.mark.root

TIMES = int(os.environ.get("MINIDOCK_LABS_TIMES", long(0, 20)))
AT_A_TIME = 4
MUTANTS = [mutant for lab in LABS for mutant in steps(mutants(lab), lab.name, apart=3)]
IN_C = [lab for lab in LABS if "c" in lab.languages()]


class Exams:
    """Exams of the chosen mutants, four at a time: most of them wait for what never comes."""

    def __init__(self, chosen: list[Mutant]) -> None:
        self._pool = ProcessPoolExecutor(
            AT_A_TIME, mp_context=get_context("fork"), initializer=_let_go_of_locks
        )
        self._chosen = chosen
        self._begun: dict[str, Future[dict[str, str]]] = {}

    def lost(self, mutant: Mutant) -> dict[str, str]:
        """What a mutant loses; its lab's others are begun with it."""
        if mutant.id not in self._begun:
            for other in self._chosen:
                if other.lab is mutant.lab:
                    self._begun[other.id] = self._pool.submit(what_is_lost, other)
        return self._begun[mutant.id].result(patience(150))

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)


def _let_go_of_locks() -> None:
    """Close what a fork has inherited of a test's locks, which it would hold for the whole run."""
    for name in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{name}").endswith(".lock"):
                os.close(int(name))
        except FileNotFoundError:
            continue  # the descriptor of the listing itself


@pytest.fixture(scope="session")
def exams(request: pytest.FixtureRequest) -> Iterator[Exams]:
    parameters = [getattr(item, "callspec", None) for item in request.session.items]
    held = Exams([p.params["mutant"] for p in parameters if p and "mutant" in p.params])
    yield held
    held.close()


each_lab = pytest.mark.parametrize("lab", LABS, ids=lambda lab: lab.name)
each_in_c = pytest.mark.parametrize(
    "lab",
    [pytest.param(lab, marks=pytest.mark.compiler) for lab in IN_C],
    ids=[lab.name for lab in IN_C],
)


@each_lab
def test_solution_gets_all_points(lab: Lab) -> None:
    assert lost(examined(lab, lab.solution())) == {}


@each_lab
def test_skeleton_gets_nothing(lab: Lab) -> None:
    assert points(examined(lab, lab.start())) == 0


@each_lab
def test_words_in_comments_get_nothing(lab: Lab) -> None:
    assert points(examined(lab, in_comments(lab.solution()))) == 0


@pytest.mark.parametrize(
    "mutant",
    [pytest.param(m, id=m.id, marks=pytest.mark.xdist_group(f"lab {m.lab.name}")) for m in MUTANTS],
)
def test_defect_loses_its_own_items(mutant: Mutant, exams: Exams) -> None:
    seen = exams.lost(mutant)
    assert sorted(seen) == sorted(mutant.loses), seen


@each_in_c
def test_solution_in_c_gets_all_points(lab: Lab) -> None:
    assert lost(examined(lab, lab.solution("c"))) == {}


@each_in_c
def test_skeleton_in_c_gets_nothing(lab: Lab) -> None:
    assert points(examined(lab, lab.start("c"))) == 0


@pytest.mark.parametrize("lab", LABS if TIMES else LABS[:1], ids=lambda lab: lab.name)
def test_solutions_graded_at_the_same_time_get_all_points(lab: Lab, tmp_path: Path) -> None:
    lab.solution().write(str(tmp_path))

    def graded(number: int) -> tuple[int, str]:
        done = subprocess.run(
            [*command_line(), "lab", "check", "--lab", lab.name, "--json", str(tmp_path)],
            capture_output=True,
            text=True,
            timeout=patience(120),
            env=environment(),
            check=False,
        )
        return (json.loads(done.stdout)["points"] if done.stdout else -1), done.stdout + done.stderr

    with ThreadPoolExecutor(AT_A_TIME) as grading:
        got = list(grading.map(graded, range(TIMES or AT_A_TIME)))
    assert [said for score, said in got if score != 100] == []
