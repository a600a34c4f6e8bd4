"""The summary of a story: operations and time per chapter, totals, and how it ended."""

from __future__ import annotations

from minidock.kernel.op import REGISTRY
from minidock.teach.journal_reader import purpose_of_module
from minidock.teach.op_page import OUTCOME, pieces
from minidock.teach.page import WIDTH, time_text, truncate
from minidock.teach.story import COLOURS, write_hint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.engine.container.containers import Container
    from minidock.teach.journal_reader import JournalEntry
    from minidock.teach.page import Page

_SLOWEST = 3


def write_overview(ops: list[JournalEntry], page: Page) -> None:
    """Print the chapters in order: the number of operations and their duration."""
    chapters: dict[tuple[str, str], list[JournalEntry]] = {}
    for entry in ops:
        chapters.setdefault(entry.chapter, []).append(entry)
    page.line("")
    width = max((len(module) for _, module in chapters), default=0)
    for (actor, module), entries in chapters.items():
        time = time_text(sum(entry.work_us for entry in entries))
        purpose = page.language.gettext(purpose_of_module(module)).partition(":")[0]
        who = page.paint(f"1;{COLOURS.get(actor, '0')}", f"{actor:<8}")
        left = f"{module:<{width}} {len(entries):>5} {time:>9}  "
        page.line(who + left + page.paint("2", truncate(purpose, WIDTH - 8 - len(left))))


def write_totals(ops: list[JournalEntry], everything: list[JournalEntry], page: Page) -> None:
    """Print the number of operations, per actor, and the longest ones."""
    language = page.language
    actors: dict[str, int] = {}
    for entry in ops:
        actors[entry.record["actor"]] = actors.get(entry.record["actor"], 0) + 1
    by_time = sorted(ops, key=lambda entry: entry.work_us, reverse=True)[:_SLOWEST]
    slowest = " · ".join(f"{entry.record['op']} {time_text(entry.work_us)}" for entry in by_time)
    counts = " · ".join(f"{actor} {count}" for actor, count in actors.items())
    count = language.ngettext("{n} operation", "{n} operations", len(ops)).format(n=len(ops))
    page.line("")
    if len(ops) < len(everything):
        of_all = language.gettext("{count} of {all}").format(count=count, all=len(everything))
        page.fold(f"{of_all}: {counts}" if counts else of_all, "")
        return
    page.fold(f"{count}: {counts}", "")
    if (command := next((entry for entry in ops if entry.executes_command), None)) is not None:
        time = time_text((command.record["t"] - ops[0].record["t"]) // 1000)
        page.fold(language.gettext("until the command began: {time}").format(time=time), "")
    page.fold(language.gettext("longest: {ops}").format(ops=slowest), "")


def write_ending(container: Container, ops: list[JournalEntry], page: Page) -> None:
    """If the command was not started, print the op that failed, why, and a hint."""
    error = container.state.get("Error", "")
    if not error:
        return
    _ = page.language.gettext
    page.line("")
    page.fold(_("The command was not started: {error}").format(error=error), "", paint="1;31")
    failed = next((t for t in reversed(ops) if t.errno is not None and t.said in error), None)
    if failed is None:
        return
    record = failed.record
    number, actor, op = failed.number, record["actor"], record["op"]
    place = _("It failed in operation {number}, {op} of {actor}; all earlier ones were undone.")
    page.fold(place.format(number=number, actor=actor, op=op), "  ")
    write_hint(failed, page, "  ")
    for kind, text in pieces(REGISTRY[op]):
        if kind == OUTCOME and text.startswith("Raises") and not failed.hint:
            page.fold(_(text), "  ")
    page.fold(_("see: {command}").format(command=f"minidock explain {op}"), "  ")
