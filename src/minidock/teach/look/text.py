"""`explain NAME` and `look --text NAME`: a journal's rows in a terminal, single ones unfolded.

web: sleep · busybox                        the title
+ pid       1  its own namespace; …         a row for each isolation, with its operations
- masks    21  hidden: 4; …                 … unfolded
197 operations; …                           the total, and why the command was not started
All operations: minidock explain --all …    how to see more, as one line
"""

from __future__ import annotations

import shlex
import sys

from minidock.printable import printable
from minidock.teach.look.phrases import phrase_of
from minidock.teach.look.rows import ROWS
from minidock.teach.look.scene import Scene
from minidock.teach.page import WIDTH, Page, fold_shell, time_text, truncate
from minidock.teach.story import COLOURS, reason, story_about
from minidock.teach.summary import write_ending
from minidock.teach.twin import Twins, needs_tools

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.teach.language import Language
    from minidock.teach.look.scene import Step
    from minidock.teach.subject import Subject

_INDENT = " " * 6


def write_text(subject: Subject, unfold: tuple[str, ...], *, language: Language) -> None:
    """Print the rows on stdout: the operations of each, and what they made."""
    page = Page(sys.stdout, language)
    scene = Scene(subject.ops)
    unfolded = [step for step in scene.steps if set(step.rows) & set(unfold)]
    began = subject.ops[0].record["t"]
    story_about(subject.title, subject.paths, page, began, [step.entry for step in unfolded])
    twins = _twins(subject, scene, page)
    page.line("")
    for row, count in scene.counts.items():
        mark = "-" if row in unfold else "+" if count else " "
        head = f"{mark} {row:<13}{count:>4}  "
        phrase = printable(truncate(phrase_of(row, scene, language.gettext), WIDTH - len(head)))
        page.line(page.paint("1", head[: len(head) - 6]) + head[-6:] + phrase)
        if row in unfold:
            for step in scene.steps:
                if row in step.rows:
                    _write_step(step, _subject(step, row), twins[step.entry.number], page)
            page.line("")
    _write_total(scene, page)
    if subject.container is not None:
        write_ending(subject.container, subject.ops, page)
    _write_more(subject, scene, unfold, page)


def _twins(subject: Subject, scene: Scene, page: Page) -> dict[int, str]:
    """The twins of all operations, since each may depend on those before it."""
    names = {path: name[1:] for path, name in subject.paths.items()}
    with_tools = needs_tools([step.entry for step in scene.steps])
    twins = Twins(names, with_tools=with_tools, gettext=page.language.gettext)
    return {step.entry.number: twins.write(step.entry) for step in scene.steps}


def _write_step(step: Step, thing: str, twin: str, page: Page) -> None:
    """Print an operation: its number, process, name, thing and time; then its twin."""
    entry = step.entry
    actor = entry.record["actor"]
    time = "" if entry.us is None else time_text(entry.us)
    left = f"{entry.number:>5} {actor:<8}"
    op = entry.record["op"]
    room = max(WIDTH - len(left) - len(op) - len(time) - 3, 0)
    name = page.paint(COLOURS.get(actor, "0"), op)
    page.line(f"{left}{name}  {truncate(thing, room):<{room}} {time}")
    if entry.errno is not None:
        page.fold(page.language.gettext("failed: {reason}").format(reason=reason(entry)), _INDENT)
    prompt = "$ "
    for line in twin.splitlines():
        if line.startswith("#"):
            page.fold(line[2:], f"{_INDENT}# ", paint="2")
            continue
        for piece in fold_shell(line, WIDTH - len(_INDENT) - 2):
            page.line(_INDENT + page.paint("36", prompt + piece))
            prompt = "  "


def _subject(step: Step, row: str) -> str:
    """The first thing of a row that an operation changes, or the first one: kind, name and note."""
    changes = sorted(step.changes, key=lambda change: change[0].tile != row)
    for thing, _, note in changes[:1]:
        return printable(" · ".join(filter(None, (thing.kind, thing.name, note))))
    return ""


def _write_total(scene: Scene, page: Page) -> None:
    language, total = page.language, len(scene.steps)
    several = sum(len(step.rows) > 1 for step in scene.steps)
    text = language.ngettext("{n} operation", "{n} operations", total).format(n=total)
    if several:
        text += language.gettext("; in several rows: {n}").format(n=several)
    page.line("")
    page.line(text)


def _write_more(subject: Subject, scene: Scene, unfold: tuple[str, ...], page: Page) -> None:
    """Print the commands for the long form, and for a row that is not unfolded yet."""
    folded = (row for row in ROWS if scene.counts[row] and row not in unfold)
    of_subject = shlex.join(subject.arguments)
    text = page.language.gettext("All operations: {all} · those of a row: {row}").format(
        all=f"minidock explain --all {of_subject}",
        row=f"minidock explain --unfold {next(folded, 'ROW')} {of_subject}",
    )
    page.line("")
    page.line(page.paint("2", text))
