"""Results as text for a terminal, and as JSON."""

from __future__ import annotations

import textwrap
from typing import TextIO

from minidock.teach.lab.check import Result
from minidock.teach.lab.folder import Lab
from minidock.teach.lab.rubric import Rubric

_WIDTH = 100


def write_text(lab: Lab, rubric: Rubric, results: list[Result], file: TextIO) -> None:
    """Write each item: passed or lost, what was seen; if lost, what was expected, and the hint."""
    earned = sum(result.points for result in results)
    maximum = sum(result.item.points for result in results)
    print(f"Lab {lab.number:02}, {rubric.title}: {earned} of {maximum} points\n", file=file)
    for result in results:
        item = result.item
        mark = "passed" if result.passed else "LOST  "
        print(f"  {mark}  {item.points:>3}  {item.name}", file=file)
        _line("", "saw", result.seen, file)
        if not result.passed and not result.unmet_needs:
            _line("", "expected", item.expect, file)
            _line("", "hint", item.hint, file)


def as_json(lab: Lab, results: list[Result]) -> dict[str, object]:
    """Convert the results to a JSON document."""
    return {
        "lab": lab.name,
        "points": sum(result.points for result in results),
        "of": sum(result.item.points for result in results),
        "items": [
            {
                "name": result.item.name,
                "points": result.points,
                "of": result.item.points,
                "passed": result.passed,
                "seen": result.seen,
                "expected": result.item.expect,
                "hint": result.item.hint,
                "needs": list(result.unmet_needs),
                "seconds": round(result.seconds, 3),
            }
            for result in results
        ],
    }


def _line(indent: str, label: str, text: str, file: TextIO) -> None:
    head = f"               {label:<9} "
    wrapped = textwrap.wrap(" ".join(text.split()), _WIDTH - len(head)) or [""]
    print(head + wrapped[0], file=file)
    for line in wrapped[1:]:
        print(" " * len(head) + line, file=file)
