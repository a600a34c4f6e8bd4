"""Exams look at what a program does: one that goes other ways than the solution gets all points.

tests/fixtures/labs/box.bash knows nothing of the reference: bash in place of Python, a named
network namespace, an unasked ARP in place of a MAC by address, chains of its own, doors shut by
other rules.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from minidock.teach.lab import folder, rubric
from minidock.teach.lab.check import run_exam
from minidock.teach.lab.submission_files import Files
from support.labs import examined, lost
from support.patience import patience

BOX = Path(__file__).parent.parent / "fixtures" / "labs" / "box.bash"

pytestmark = pytest.mark.root


@pytest.mark.parametrize("lab", ["07", "08"])
def test_program_that_goes_other_ways_gets_all_points(lab: str) -> None:
    files = Files()
    files.put("box", BOX.read_bytes(), BOX.stat().st_mode)
    assert lost(examined(folder.find(lab), files)) == {}


# What is right, and late: a busy machine does the same. (lab, item, file, what is late, how long)
LATE = [
    ("03", "init-closed", "init.py", "        os.closerange(3", 0.3),
    ("08", "nothing-left", "ports.py", '    change("-D", box.rules)', 2.0),
    ("08", "nothing-left-after-term", "ports.py", '    change("-D", box.rules)', 2.0),
]


@pytest.mark.parametrize(("lab", "item", "file", "act", "seconds"), LATE, ids=lambda x: str(x)[:24])
def test_program_that_is_late_gets_its_points(
    lab: str, item: str, file: str, act: str, seconds: float
) -> None:
    asked = folder.find(lab)
    files = asked.solution()
    text = files.text(file)
    assert text.count(act) == 1
    indent = " " * (len(act) - len(act.lstrip()))
    text = text.replace(act, f"{indent}time.sleep({patience(seconds)})\n{act}")
    files.put(file, text.replace("\nimport ", "\nimport time\nimport ", 1).encode())
    assert lost(run_exam(asked, rubric.read(asked.folder), files, [item])) == {}


def test_command_that_comes_after_its_box_has_ended_is_found() -> None:
    """A box that does not wait loses the items about waiting, and no others."""
    lab = folder.find("00")
    files = lab.solution()
    text = files.text("process.py")
    for old, new in (
        ("os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])", "0"),
        ("        os.execvp(", f"        time.sleep({patience(0.3)})\n        os.execvp("),
        ("\nimport os\n", "\nimport os\nimport time\n"),
    ):
        assert text.count(old) == 1
        text = text.replace(old, new)
    files.put("process.py", text.encode())
    assert lost(run_exam(lab, rubric.read(lab.folder), files, ["own-root"])) == {}
