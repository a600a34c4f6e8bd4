"""`lab …`: the course's assignments, and their grader."""

from __future__ import annotations

from minidock.cli.frame.lazy import Group

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.cli.frame.lazy import Table

_COMMANDS: Table = {
    "list": ("Commands", "lab_folders:list_", "List the labs"),
    "start": ("Commands", "lab_folders:start", "Create a directory to work in"),
    "check": ("Commands", "lab_check:check", "Grade your program"),
    "grade": ("Commands", "lab_grade:grade", "Grade a submission, and write reports for a course"),
    "hint": ("Commands", "lab_folders:hint", "Print the hints of a lab, or of one item"),
    "quiz": ("Commands", "lab_quiz:quiz", "Ask ten questions about a container"),
    "fault": ("Commands", "lab_fault:fault", "Create a set-up with one fault in it"),
    "reset": ("Commands", "lab_folders:reset", "Restore the original files of a lab"),
}


def _lab(given: dict[str, object]) -> None:
    """Write a container runtime yourself, lab by lab, and have it graded"""


lab = Group(_COMMANDS, _lab)
