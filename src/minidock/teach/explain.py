"""explain: a container's journal, told to a student.

    journal  ->  Reader (told.py)  ->  Story (story.py) and summary; or JSON, a line an op

Each op says who did it (engine, monitor, init), in which phase, what it did, why, how a shell would
do the same, which man page tells more, and how long it took. The words are docstrings: nothing is
written twice. What an op is: op_page.py.
"""

from __future__ import annotations

import sys

from minidock.document import read_bytes
from minidock.errors import DamagedFile, NotFound
from minidock.kernel.op import REGISTRY
from minidock.teach.op_page import names_of, ops_named
from minidock.teach.page import Page
from minidock.teach.story import story_of
from minidock.teach.summary import ending, overview, totals
from minidock.teach.told import Reader, Told, load_ops

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

    from minidock.engine.container.containers import Container
    from minidock.teach.language import Language


def narrator(container: Container, *, as_json: bool, language: Language) -> Callable[[str], None]:
    """A function that tells each record of a run as it comes, on stderr."""
    load_ops()
    reader = Reader()
    write = _writer(container, sys.stderr, as_json=as_json, language=language)

    def on_record(line: str) -> None:
        for told in reader.read(line):
            write(told)
        sys.stderr.flush()

    return on_record


def explain(
    container: Container,
    names: tuple[str, ...] = (),
    *,
    as_json: bool,
    only_phases: bool = False,
    language: Language,
) -> None:
    """Tell, on stdout, what was done for a container's last run.

    names: of ops, man pages or modules, to tell of these alone. only_phases: the overview alone.
    Raises NotFound for a container that was never started, and for a name that nothing has.
    """
    everything = read_journal(container)
    if not everything:
        raise NotFound(
            f"container {container.name} has no journal: it was never started",
            hint=f"minidock start {container.name}",
        )
    wanted = _wanted(names)
    ops = [told for told in everything if not names or told.record["op"] in wanted]
    out = sys.stdout
    told_in_full = [] if only_phases else ops
    began = everything[0].record["t"]
    write = _writer(
        container, out, as_json=as_json, language=language, began=began, ops=told_in_full
    )
    if not only_phases or as_json:
        for told in ops:
            write(told)
    if not as_json:
        page = Page(out, language)
        if not names:
            overview(ops, page)
        totals(ops, everything, page)
        if not names:
            ending(container, everything, page)


def _wanted(names: tuple[str, ...]) -> set[str]:
    """The ops that are meant."""
    load_ops()
    for name in names:
        if not ops_named(name):
            raise NotFound(f"No such operation: {name}", hint="`minidock explain` lists them all")
    asked = {name.partition("(")[0] for name in names}
    return {op.name for op in REGISTRY.values() if asked & set(names_of(op))}


def read_journal(container: Container) -> list[Told]:
    """What was done for a container since it was last started, each op with how it went.

    Raises DamagedFile.
    """
    load_ops()
    path = container.paths.journal
    try:
        lines = read_bytes(path).decode(errors="replace").splitlines()
    except FileNotFoundError:
        return []
    reader = Reader()
    if lines and not lines[-1].endswith("}"):
        lines.pop()  # the disk was full, or somebody is writing it just now
    try:
        return [told for line in lines for told in reader.read(line)] + reader.rest()
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise DamagedFile(path, f"a line is not a record of it: {error}") from None


def _writer(
    container: Container,
    out: TextIO,
    *,
    as_json: bool,
    language: Language,
    began: int | None = None,
    ops: list[Told] | None = None,
) -> Callable[[Told], None]:
    """What writes an op to `out`, as JSON or as text below a title."""
    page = Page(out, language)
    if as_json:
        return lambda told: _write_line(told, page)
    return story_of(container, page, began, ops).write


def _write_line(told: Told, page: Page) -> None:
    plain = told.plain()
    page.json({**plain, "why": page.language.gettext(plain["why"]) if plain["why"] else ""})
