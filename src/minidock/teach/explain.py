"""explain: print a container's journal with explanations.

    journal  ->  JournalReader (journal_reader.py)  ->  Story (story.py) and summary
                                                    ->  or JSON, one op a line

Each op has its actor (engine, monitor, init), its phase, its arguments, its purpose, the equivalent
shell command, its man page and its duration. The texts are docstrings of the code. One op in
detail: op_page.py.
"""

from __future__ import annotations

import sys

from minidock.errors import NotFound
from minidock.kernel.op import REGISTRY
from minidock.teach.journal_reader import JournalReader, load_ops
from minidock.teach.op_page import names_of, ops_named
from minidock.teach.page import Page
from minidock.teach.story import story_about, story_of
from minidock.teach.summary import write_ending, write_overview, write_totals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from minidock.engine.container.containers import Container
    from minidock.teach.journal_reader import JournalEntry
    from minidock.teach.language import Language
    from minidock.teach.subject import Subject


def journal_printer(
    container: Container, *, as_json: bool, language: Language
) -> Callable[[str], None]:
    """A function that prints each record of a run on stderr as it arrives."""
    load_ops()
    reader = JournalReader()
    page = Page(sys.stderr, language)
    story = None if as_json else story_of(container, page)

    def on_record(line: str) -> None:
        for entry in reader.read(line):
            if story is None:
                _write_line(entry, page)
            else:
                story.write(entry)
        sys.stderr.flush()

    return on_record


def explain(
    subject: Subject,
    names: tuple[str, ...] = (),
    *,
    as_json: bool,
    only_phases: bool = False,
    language: Language,
) -> None:
    """Print the ops of a subject on stdout.

    names: of ops, man pages or modules, as a filter. only_phases: print the overview only.
    Raises NotFound for an unknown name.
    """
    everything = subject.ops
    wanted = _wanted(names)
    ops = [entry for entry in everything if not names or entry.record["op"] in wanted]
    page = Page(sys.stdout, language)
    if as_json:
        for entry in ops:
            _write_line(entry, page)
        return
    began = everything[0].record["t"]
    shown_ops = [] if only_phases else ops
    story = story_about(subject.title, subject.paths, page, began, shown_ops)
    for entry in shown_ops:
        story.write(entry)
    if not names:
        write_overview(ops, page)
    write_totals(ops, everything, page)
    if not names and subject.container is not None:
        write_ending(subject.container, everything, page)


def _wanted(names: tuple[str, ...]) -> set[str]:
    """The names of the ops that match."""
    load_ops()
    for name in names:
        if not ops_named(name):
            raise NotFound(f"No such operation: {name}", hint="`minidock explain` lists them all")
    asked = {name.partition("(")[0] for name in names}
    return {op.name for op in REGISTRY.values() if asked & set(names_of(op))}


def _write_line(entry: JournalEntry, page: Page) -> None:
    why = entry.record["why"]
    page.json({**entry.plain(), "why": page.language.gettext(why) if why else ""})
