"""Print a plan: each operation with its purpose, its man page, and its shell command.

Long paths are shortened to $C, $STORE and $ID, which the head defines. JSON is complete: one object
per operation, as in the journal's begin record, with why, man page, twin and source.
"""

from __future__ import annotations

from minidock.teach.journal_reader import purpose_of_function, split_phase
from minidock.teach.language import language
from minidock.teach.page import WIDTH, Page, fold_shell, short_ids

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

    from minidock.teach.plan.plan import Plan
    from minidock.teach.plan.planned_ops import PlannedOp

_COLOURS = {"engine": "34", "monitor": "33", "init": "32"}
_INDENT = " " * 9


def write_json(plan: Plan, out: TextIO) -> None:
    """Write one JSON object a line: first assumptions, {"note": ...}, then the operations; if the
    run would fail, {"ends": the error, "hint", "exit_code"} comes last."""
    page = Page(out, language("en"))
    for note in plan.notes:
        page.json({"note": note})
    for number, act in plan.ops.numbered():
        page.json(act.described(number))
    if plan.failure:
        ends = {"ends": str(plan.failure), "hint": plan.failure.hint}
        page.json({**ends, "exit_code": plan.exit_code})


def write_text(plan: Plan, out: TextIO) -> None:
    """Write the plan as text."""
    container = plan.container
    names = {
        container.paths.home: "$C",
        container.paths.run: "$RUN",
        container.store.root: "$STORE",
        container.id: "$ID",
    }
    page = Page(out, language("en"))
    command = " ".join(plan.command)
    page.line(page.paint("1", f"what run would do for `{command}` in {container.config['Image']}"))
    said = "nothing is done; values that only a run has are variables, such as $pid"
    page.line(page.paint("2", said))
    for path, name in reversed(names.items()):
        others = {literal: other for literal, other in names.items() if other != name}
        page.line(page.paint("2", f"    {name[1:]}={_short(path, others)}"))
    for note in plan.notes:
        page.fold(f"assumed: {note}", "  ", paint="33")
    story = _Story(page, names)
    for number, act in plan.ops.numbered():
        story.write(number, act)
    counts = " · ".join(f"{actor} {_count(plan, actor)}" for actor in _COLOURS)
    page.line("")
    page.line(f"{len(plan.ops.all)} operations: {counts}")
    if plan.failure:
        said = f"the run would fail here, with exit code {plan.exit_code}: {plan.failure}"
        page.fold(said, "", paint="31")
        if plan.failure.hint:
            page.fold(f"hint: {plan.failure.hint}", "  ")


def _count(plan: Plan, actor: str) -> int:
    return sum(act.actor == actor for act in plan.ops.all)


def _short(text: str, names: dict[str, str]) -> str:
    for path, name in names.items():
        text = text.replace(path, name)
    return text


class _Story:
    """Writes operations below the heading of their phase. names: long path -> variable."""

    def __init__(self, page: Page, names: dict[str, str]) -> None:
        self._page = page
        self._names = names
        self._phase = self._op = ""

    def write(self, number: int, act: PlannedOp) -> None:
        """Write one operation; its purpose only if it differs from the one before."""
        page, entry, colour = self._page, act.described(number), _COLOURS[act.actor]
        if (phase := f"{act.actor} · {act.phase}") != self._phase:
            page.line("")
            page.line(page.paint(f"1;{colour}", f"{phase} ".ljust(WIDTH, "─")))
            if purpose := purpose_of(act.phase):
                page.fold(purpose, "  ", paint="1")
            self._phase, self._op = phase, ""
        head = f"{number:>6}   {act.op.name:<{WIDTH - 29}}{entry['man']:>20}"
        page.line(page.paint(colour, head))
        if act.op.name != self._op:
            page.fold(entry["why"], _INDENT)
        self._op = act.op.name
        prompt = "$ "
        for line in short_ids(_short(entry["twin"], self._names)).splitlines():
            for piece in fold_shell(line, WIDTH - 11):
                page.line(_INDENT + page.paint("36", prompt + piece))
                prompt = "  "


def purpose_of(phase: str) -> str:
    """The first line of the docstring of the calling function."""
    return purpose_of_function(*split_phase(phase))
