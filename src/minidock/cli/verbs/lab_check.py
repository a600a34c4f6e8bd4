"""`lab check`: grade a student's program, item by item."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager

from minidock.cli.frame.command import command
from minidock.cli.frame.pflag import switch, value
from minidock.cli.frame.safe_output import escape_controls, raw_stream
from minidock.cli.verbs.lab_folders import check_item

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from minidock.teach.lab.rubric import Item


@command("[DIR]", at_most=1, failure=None)
@value("--lab", default="", help="The lab, if `lab start` did not create the directory")
@value("--item", default="", help="Check only this item and those it depends on")
@switch("--json", help="Print JSON")
def check(arguments: tuple[str, ...], *, lab: str, item: str, json: bool) -> int:
    """Run your program in a sandbox, and report what was observed for each item

    DIR: the directory that `lab start` created (default: the current directory). The exit code is 0
    with all points, else 1. Without arguments, outside of such a directory and while a set-up
    of `lab fault` exists: reports what is still broken in it, or removes it if it is repaired.
    """
    if not (arguments or lab or item):
        from minidock.cli.verbs.lab_fault import check_fault

        if (code := check_fault(as_json=json)) is not None:
            return code
    from minidock.teach.lab import folder, marks, rubric
    from minidock.teach.lab.check import run_exam
    from minidock.teach.lab.submission_files import Files

    directory = arguments[0] if arguments else "."
    about = folder.choose_lab(directory, lab)
    rules = rubric.read(about.folder)
    if item:
        check_item(about, rules, item)
    chosen = [item] if item else None
    files = Files.read(directory)
    with _shown() as on_item:
        results = run_exam(about, rules, files, chosen, on_item=on_item)
    if json:
        from json import dump

        dump(marks.as_json(about, results), sys.stdout, indent=2)
        print()
    else:
        marks.write_text(about, rules, results, sys.stdout)
    return 0 if all(result.passed for result in results) else 1


@contextmanager
def _shown() -> Iterator[Callable[[Item], None]]:
    """Show on a terminal which item is being checked; the line disappears afterwards."""
    if not os.isatty(2):
        yield lambda item: None
        return

    terminal = raw_stream(sys.stderr)

    def show(item: Item) -> None:
        name = escape_controls(item.name, one_line=True)
        print(f"\r\033[Kchecking {name} ", end="", file=terminal, flush=True)

    try:
        yield show
    finally:
        print("\r\033[K", end="", file=terminal, flush=True)
