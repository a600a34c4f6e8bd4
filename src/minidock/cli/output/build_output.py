"""Output of `build` on stderr: progress, and the error of a failed step.

--progress auto     tty where stderr is a terminal, else plain
--progress plain    BuildKit's lines                              build_progress.py
--progress tty      a live view                                   build_live.py
--progress quiet    nothing, as with -q
"""

from __future__ import annotations

import os
import sys

from minidock.cli.output.build_progress import Plain, Screen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.engine.build.failure import BuildFailed

_OUTPUT_LINES = 20
_RULE = "-" * 20


def screen(kind: str) -> Screen:
    """Return the progress display of --progress: auto, plain, tty or quiet."""
    if kind == "quiet":
        return Screen()
    if kind == "tty" or (kind == "auto" and os.isatty(2)):
        from minidock.cli.output.build_live import Live  # imports rich: only for terminals

        return Live()
    return Plain()


def show_failure(error: BuildFailed) -> None:
    """Print the output of the failed step and its lines of the Dockerfile; also with -q."""
    out: list[str] = []
    if error.step:
        said = error.output.decode(errors="replace").splitlines()
        out += ["------", f" > {error.step}:", *said[-_OUTPUT_LINES:], "------"]
    first, last = error.lines
    if first:
        out += _caret_block(error.name, error.dockerfile, first, last)
    if out:
        print("\n".join(out), file=sys.stderr)


def _caret_block(name: str, lines: list[str], first: int, last: int) -> list[str]:
    """Return the lines of the instruction, marked with ">>>", with context."""
    begin, end = _with_context(first, min(last, len(lines)), len(lines))
    block = [f"{name}:{first}", _RULE]
    for number in range(begin, end + 1):
        mark = ">>>" if first <= number <= last else "   "
        block.append(f"{number:4d} | {mark} {lines[number - 1]}".rstrip())
    return [*block, _RULE]


def _with_context(first: int, last: int, count: int) -> tuple[int, int]:
    """Add context as BuildKit does: two lines around a single line, else one."""
    wanted = 4 if first == last else 2
    taken = 0
    while taken < wanted:
        if first > 1:
            first, taken = first - 1, taken + 1
        if last < count:
            last, taken = last + 1, taken + 1
        taken += 1
    return first, last
