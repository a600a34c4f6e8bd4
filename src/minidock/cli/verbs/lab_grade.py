"""`lab grade`: grade a submission for a course's grading system."""

from __future__ import annotations

import sys

from minidock.cli.frame.command import Misuse, command
from minidock.cli.frame.pflag import value


@command("[DIR]", at_most=1, failure=None)
@value("--lab", default="", help="The lab (required; not read from the submission)")
@value("--gradescope", default="", help="Write Gradescope's results.json to this file")
@value("--junit", default="", help="Write JUnit's XML to this file")
def grade(arguments: tuple[str, ...], *, lab: str, gradescope: str, junit: str) -> None:
    """Grade a submission, and write reports

    The exit code is 0 for any number of points. If the grader itself fails, it is 125 and there is
    no report.
    """
    from minidock.teach.lab import folder, marks, reports, rubric
    from minidock.teach.lab.check import run_exam
    from minidock.teach.lab.submission_files import Files

    if not lab:
        raise Misuse("lab grade requires --lab", hint="minidock lab grade --lab 03 DIR")
    about = folder.find(lab)
    rules = rubric.read(about.folder)
    files = Files.read(arguments[0] if arguments else ".")
    files_to_write = reports.Reports()
    if gradescope:
        files_to_write.add(gradescope, reports.gradescope)
    if junit:
        files_to_write.add(junit, reports.junit)
    results = run_exam(about, rules, files)
    files_to_write.write(about, results)
    marks.write_text(about, rules, results, sys.stdout)
