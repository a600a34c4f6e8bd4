"""`look`: the creation of a container as a picture that replays, or its summary as text."""

from __future__ import annotations

import os
import stat

from minidock.cli.flags.journal_flags import (
    OF_STORE,
    check_rows,
    chosen_flag,
    journal_flags,
    subject_of,
    subject_of_store,
)
from minidock.cli.frame.command import NeedsRoot, command
from minidock.cli.frame.complete import containers
from minidock.cli.frame.pflag import switch, value, values
from minidock.errors import UsageError
from minidock.paths import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

    from minidock.teach.subject import Subject


@command("[CONTAINER...]", at_least=0, needs_root=False, complete=containers)
@switch("--text", help="Print what was done for each isolation, in a terminal")
@values("--unfold", help="With --text: list the operations of this row")
@value("--export", help="Write a page that replays the journal ('-' for stdout)")
@journal_flags("Show")
@value("--lang", help="Language of the output (en, ru; default from LANG)")
def look(
    arguments: tuple[str, ...],
    *,
    text: bool,
    unfold: tuple[str, ...],
    export: str | None,
    lang: str | None,
    **journal: object,
) -> None:
    """Show how containers were made, as an animated picture or as text

    --export writes one HTML file, which needs neither a server nor root: host and container, the
    processes in time, and each operation with what it changes. --text prints a row for each
    isolation that `run --without` knows, and for the layers, as `explain CONTAINER` does.
    """
    from minidock.teach.language import language

    output_language = language(lang or "")
    flag, wanted = chosen_flag(journal)
    _check(text=text, export=export, unfold=unfold)
    if text and len(arguments) > 1:
        raise UsageError("--text shows one container", hint="--export FILE shows several")
    subjects = _subjects(arguments, flag, wanted)
    if text:
        from minidock.teach.look.text import write_text

        write_text(subjects[0], unfold, language=output_language)
        return
    from minidock.cli.output.archive_output import Output
    from minidock.teach.look.export import export as page_of

    page = page_of(subjects, language=output_language)
    with Output("" if export == "-" else str(export), "export the picture") as stream:
        stream.write(page)
        if export != "-":
            _make_readable(stream)


def _make_readable(stream: BinaryIO) -> None:
    """Give a new file the mode that any file gets: the page is for readers without root."""
    mask = os.umask(0)
    os.umask(mask)
    if stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
        os.fchmod(stream.fileno(), 0o666 & ~mask)


def _check(*, text: bool, export: str | None, unfold: tuple[str, ...]) -> None:
    """Refuse flags that exclude or require each other, and unknown rows."""
    if text and export is not None:
        raise UsageError("--text and --export exclude each other")
    if not text and not export:
        raise UsageError(
            "look requires --text or --export FILE",
            hint="minidock look --text NAME     or: minidock look --export look.html NAME",
        )
    if unfold and not text:
        raise UsageError("--unfold requires --text", hint="minidock look --text --unfold ROW NAME")
    check_rows(unfold)


def _subjects(arguments: tuple[str, ...], flag: str, wanted: str) -> list[Subject]:
    """The subjects, as `explain` has them."""
    from minidock.engine.container.lookup import find

    if not arguments and flag not in OF_STORE:
        raise UsageError(f"{flag or 'look'} requires a container", hint="minidock ps -a")
    if os.geteuid() != 0:
        raise NeedsRoot("`minidock look` needs root", hint="put sudo before it")
    if flag in OF_STORE:
        return [subject_of_store(flag, wanted)]
    found = [find(Store(), name) for name in arguments]
    return [subject_of(container, flag, wanted) for container in found]
