"""Reports for a course: what Gradescope and what a CI server reads.

They are made from the results, by the grader, after the last place has ended: there is nothing of a
student's left that could write to them, and their folders were never to be seen from a place.

Sources: Gradescope, "Autograder Specifications" (results.json); the JUnit XML schema as Jenkins and
GitLab read it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from xml.sax.saxutils import escape, quoteattr

from minidock.errors import MinidockError, UsageError
from minidock.teach.lab.check import Result
from minidock.teach.lab.folder import Lab
from minidock.teach.lab.submission_folder import open_folder, write_file


class Reports:
    """The files that are to be written; old ones of these names are taken away at once, so that no
    failure of the grader leaves something that looks like a grade."""

    def __init__(self) -> None:
        self._wanted: list[tuple[str, Callable[[Lab, list[Result]], str]]] = []

    def want(self, path: str, form: Callable[[Lab, list[Result]], str]) -> None:
        """Have a report written to `path`. Raises UsageError where that cannot be."""
        folder, name = os.path.split(os.path.abspath(path))
        try:
            with open_folder(folder) as fd:
                write_file(fd, name, b"")  # tried now, or the exam would be held for nothing
                os.unlink(name, dir_fd=fd)
        except (MinidockError, OSError) as error:
            raise UsageError(
                f"a report cannot be written to {path}: {error}",
                hint="its folder must exist, be writable for its owner, and be named without links",
            ) from None
        self._wanted.append((path, form))

    def write(self, lab: Lab, results: list[Result]) -> None:
        """Write them all, by descriptors: the folders may be a student's (submission_folder.py)."""
        for path, form in self._wanted:
            folder, name = os.path.split(os.path.abspath(path))
            with open_folder(folder) as fd:
                write_file(fd, name, form(lab, results).encode())


def gradescope(lab: Lab, results: list[Result]) -> str:
    """results.json: a test for each item, with what was seen, expected, and the hint."""
    return json.dumps(
        {
            "score": sum(result.points for result in results),
            "execution_time": round(sum(result.seconds for result in results), 2),
            "stdout_visibility": "hidden",
            "tests": [
                {
                    "name": f"{lab.number:02} {result.item.name}",
                    "number": str(number),
                    "score": result.points,
                    "max_score": result.item.points,
                    "status": "passed" if result.passed else "failed",
                    "output_format": "text",
                    "output": _told(result),
                }
                for number, result in enumerate(results, 1)
            ],
        },
        indent=2,
    )


def junit(lab: Lab, results: list[Result]) -> str:
    """JUnit's XML: a test case for each item; one that was not looked at is a failure too."""
    lost = sum(not result.passed for result in results)
    seconds = sum(result.seconds for result in results)
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<testsuites tests="{len(results)}" failures="{lost}" errors="0" time="{seconds:.3f}">',
        f'<testsuite name={quoteattr(lab.name)} tests="{len(results)}" failures="{lost}"'
        f' errors="0" skipped="0" time="{seconds:.3f}">',
    ]
    for result in results:
        names = f"classname={quoteattr(lab.name)} name={quoteattr(result.item.name)}"
        failure = "" if result.passed else f"<failure message={quoteattr(result.seen)}/>"
        told = escape(f"{result.points} of {result.item.points} points\n{_told(result)}")
        lines += [
            f'<testcase {names} time="{result.seconds:.3f}">',
            f"{failure}<system-out>{told}</system-out></testcase>",
        ]
    return "\n".join([*lines, "</testsuite>", "</testsuites>", ""])


def _told(result: Result) -> str:
    lines = [f"saw: {result.seen}"]
    if not result.passed and not result.unmet_needs:
        lines += [f"expected: {result.item.expect}", f"hint: {result.item.hint}"]
    return "\n".join(lines)
