"""Reports for a course: Gradescope's results.json, and JUnit's XML for a CI server.

The grader writes them after the last sandbox has ended: no process of the student's is left that
could write to them, and no sandbox ever sees their folders.

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
    """The report files to write.

    Old files of these names are removed at once: after a failure of the grader, none of them must
    look like a grade.
    """

    def __init__(self) -> None:
        self._reports: list[tuple[str, Callable[[Lab, list[Result]], str]]] = []

    def add(self, path: str, render: Callable[[Lab, list[Result]], str]) -> None:
        """Add a report that `write` writes to `path`. Raises UsageError if it is not writable."""
        folder, name = os.path.split(os.path.abspath(path))
        try:
            with open_folder(folder) as fd:
                write_file(fd, name, b"")  # an error must come before the exam
                os.unlink(name, dir_fd=fd)
        except (MinidockError, OSError) as error:
            raise UsageError(
                f"a report cannot be written to {path}: {error}",
                hint="its folder must exist, be writable by its owner, and have no symbolic link",
            ) from None
        self._reports.append((path, render))

    def write(self, lab: Lab, results: list[Result]) -> None:
        """Write them all; a student may own the folders (submission_folder.py)."""
        for path, render in self._reports:
            folder, name = os.path.split(os.path.abspath(path))
            with open_folder(folder) as fd:
                write_file(fd, name, render(lab, results).encode())


def gradescope(lab: Lab, results: list[Result]) -> str:
    """Render results.json: a test for each item, with its observation, expectation and hint."""
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
                    "output": _describe(result),
                }
                for number, result in enumerate(results, 1)
            ],
        },
        indent=2,
    )


def junit(lab: Lab, results: list[Result]) -> str:
    """Render JUnit's XML: a test case for each item; one that did not run is a failure."""
    failures = sum(not result.passed for result in results)
    seconds = sum(result.seconds for result in results)
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<testsuites tests="{len(results)}" failures="{failures}" errors="0"'
        f' time="{seconds:.3f}">',
        f'<testsuite name={quoteattr(lab.name)} tests="{len(results)}" failures="{failures}"'
        f' errors="0" skipped="0" time="{seconds:.3f}">',
    ]
    for result in results:
        names = f"classname={quoteattr(lab.name)} name={quoteattr(result.item.name)}"
        failure = "" if result.passed else f"<failure message={quoteattr(result.seen)}/>"
        output = escape(f"{result.points} of {result.item.points} points\n{_describe(result)}")
        lines += [
            f'<testcase {names} time="{result.seconds:.3f}">',
            f"{failure}<system-out>{output}</system-out></testcase>",
        ]
    return "\n".join([*lines, "</testsuite>", "</testsuites>", ""])


def _describe(result: Result) -> str:
    lines = [f"saw: {result.seen}"]
    if not result.passed and not result.unmet_needs:
        lines += [f"expected: {result.item.expect}", f"hint: {result.item.hint}"]
    return "\n".join(lines)
