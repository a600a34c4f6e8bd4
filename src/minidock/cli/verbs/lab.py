"""`lab …`: the course's assignments, and their grader."""

from __future__ import annotations

from minidock.cli.frame.lazy import Group

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minidock.cli.frame.lazy import Table

_COMMANDS: Table = {
    "list": ("Commands", "lab_folders:list_", "List the labs"),
    "start": ("Commands", "lab_folders:start", "Make a folder to work in"),
    "check": ("Commands", "lab_check:check", "Look at what your program does"),
    "grade": ("Commands", "lab_grade:grade", "Look at it, and write reports for a course"),
    "hint": ("Commands", "lab_folders:hint", "Say a lab's hints, or one item's"),
    "quiz": ("Commands", "lab_quiz:quiz", "Ask ten questions about a container"),
    "fault": ("Commands", "lab_fault:fault", "Make a set-up with one thing wrong in it"),
    "reset": ("Commands", "lab_folders:reset", "Put a lab's own files back as they were"),
}


def _lab(given: dict[str, Any]) -> None:
    """Write a container runtime yourself, lab by lab, and have it looked at"""


lab = Group(_COMMANDS, _lab)
