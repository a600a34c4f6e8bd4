"""explain: a container's journal, told to a student.

    journal  ->  Reader (journal_reader.py)  ->  Story (story.py) and summary; or JSON, a line an op

Each op says who did it (engine, monitor, init), in which phase, what it did, why, how a shell would
do the same, which man page tells more, and how long it took. The words are docstrings: nothing is
written twice. What an op is: op_page.py.
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
    """A function that tells each record of a run as it comes, on stderr."""
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
    """Tell, on stdout, what was done.

    names: of ops, man pages or modules, to tell of these alone. only_phases: the overview alone.
    Raises NotFound for a name that nothing has.
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
    told_in_full = [] if only_phases else ops
    story = story_about(subject.title, subject.paths, page, began, told_in_full)
    for entry in told_in_full:
        story.write(entry)
    if not names:
        write_overview(ops, page)
    write_totals(ops, everything, page)
    if not names and subject.container is not None:
        write_ending(subject.container, everything, page)


def _wanted(names: tuple[str, ...]) -> set[str]:
    """The ops that are meant."""
    load_ops()
    for name in names:
        if not ops_named(name):
            raise NotFound(f"No such operation: {name}", hint="`minidock explain` lists them all")
    asked = {name.partition("(")[0] for name in names}
    return {op.name for op in REGISTRY.values() if asked & set(names_of(op))}


def _write_line(entry: JournalEntry, page: Page) -> None:
    plain = entry.plain()
    page.json({**plain, "why": page.language.gettext(plain["why"]) if plain["why"] else ""})
