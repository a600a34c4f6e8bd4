"""`doctor`: check this machine for containers, and print fixes.

engine/doctor has the checks and their verdicts; this module prints them.
"""

from __future__ import annotations

import json

from minidock.cli.frame.command import command
from minidock.cli.frame.error_output import FormatError
from minidock.cli.frame.pflag import switch, value
from minidock.paths import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.engine.doctor.finding import Finding
    from minidock.engine.doctor.report import Report

_WIDTH = 100
_MARGIN = " " * 27


@command(needs_root=False)
@value("-f", "--format", default="", help="Format output: 'json' prints the whole report")
@switch("--json", help="Alias of --format json")
def doctor(arguments: tuple[str, ...], *, format: str, json: bool) -> int:
    """Check whether this machine can run containers, and show how to fix problems

    Tests what `run` needs, in temporary namespaces and cgroups, and inspects the system. The exit
    code is 0 if `minidock run` works, 1 if a problem prevents it. Without root, many checks are
    skipped.
    """
    from minidock.engine.doctor.machine import Machine
    from minidock.engine.doctor.report import examine

    if format not in ("", "json"):
        raise FormatError(f"unsupported format {format!r}", hint="supported: --format json")
    report = examine(Machine(Store()))
    print(_as_json(report) if json or format else as_text(report))
    return 0 if report.works else 1


def _as_json(report: Report) -> str:
    return json.dumps(report.document(), indent=4, ensure_ascii=False)


def as_text(report: Report) -> str:
    """Format the report as text: findings under their topics, then a summary."""
    lines: list[str] = []
    topic = ""
    for finding in report.findings:
        if finding.topic != topic:
            lines += ["", finding.topic] if topic else [finding.topic]
            topic = finding.topic
        lines += _lines(finding)
    return "\n".join([*lines, "", _verdict(report)])


def _lines(finding: Finding) -> list[str]:
    import textwrap

    def wrapped(text: str, first: str, later: str) -> list[str]:
        return textwrap.wrap(
            text, _WIDTH, initial_indent=first, subsequent_indent=later,
            break_long_words=False, break_on_hyphens=False,
        )  # fmt: skip

    lines = wrapped(finding.seen, f"  {finding.verdict:<9}{finding.check:<16}", _MARGIN)
    if finding.fix:
        lines += wrapped(finding.fix, f"{_MARGIN}fix: ", f"{_MARGIN}     ")
    return lines


def _verdict(report: Report) -> str:
    """Summarize the report in one sentence."""
    from minidock.engine.doctor.finding import PROBLEM, WARNING

    problems, warnings = report.count(PROBLEM), report.count(WARNING)
    can = report.can
    if can["run"] is False:
        return f"`minidock run` does not work here: {_many(problems, 'problem')} to fix first."
    if can["network"] is False:
        text = "`minidock run` works here with --network none or host only"
        return f"{text}: {_many(problems, 'problem')} to fix first."
    if problems:
        return f"`minidock run` may fail here: {_many(problems, 'problem')} to fix first."
    missing = [what for what, works in can.items() if works is False]
    sentence = f"`minidock run` works here, with {_many(warnings, 'warning')}"
    return sentence + (f"; not here: {', '.join(missing)}." if missing else ".")


def _many(count: int, what: str) -> str:
    return f"{count or 'no'} {what}{'' if count == 1 else 's'}"
