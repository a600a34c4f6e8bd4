"""`look`: the creation of a container as a picture that replays, or its summary as text."""

from __future__ import annotations

import os
import stat
import sys

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
from minidock.cli.frame.pflag import INT, switch, value, values
from minidock.errors import UsageError
from minidock.paths import Store
from minidock.printable import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO, BinaryIO

    from minidock.teach.language import Language
    from minidock.teach.look.lecture import Lecture
    from minidock.teach.subject import Subject

_PORT_MAX = 65535


@command("[CONTAINER...]", at_least=0, needs_root=False, complete=containers)
@switch("--text", help="Print what was done for each isolation, in a terminal")
@values("--unfold", help="With --text: list the operations of this row")
@value("--export", help="Write a page that replays the journal ('-' for stdout)")
@values(
    "--plan", help="With --export: show a plan, such as 'run --privileged busybox'; nothing is run"
)
@value("--lecture", help="Show the steps of a Markdown file, and with each what it names")
@value("--port", type=INT, default=0, help="Serve the page at this port (default: a free one)")
@switch("--open", default=True, help="Open the page in your browser, if this is a desktop")
@journal_flags("Show")
@value("--lang", help="Language of the output (en, ru; default from LANG)")
def look(
    arguments: tuple[str, ...],
    *,
    text: bool,
    unfold: tuple[str, ...],
    export: str | None,
    plan: tuple[str, ...],
    lecture: str | None,
    port: int,
    open: bool,
    lang: str | None,
    **journal: object,
) -> None:
    """Show how containers are made, as an animated picture or as text

    Serves a page to a browser on this machine, and prints its address: host and container, the
    processes in time, each operation with what it changes, and what is true of the container now.
    Without CONTAINER, the page shows each container of the store as it is made.

    --export writes a page to a file instead, which needs neither a server nor root. --text prints
    a row for each isolation that `run --without` knows, and for the layers, as `explain
    CONTAINER` does. With --export, --plan adds what `plan` foresees of a `run`.
    """
    from minidock.teach.language import language

    output_language = language(lang or "")
    flag, wanted = chosen_flag(journal)
    _check(text=text, export=export, unfold=unfold, port=port, lecture=lecture)
    if plan and export is None:
        raise UsageError("--plan requires --export FILE", hint="minidock plan run … prints one")
    if not text and export is None:
        if flag:
            raise UsageError(f"{flag} requires --text or --export FILE")
        _serve(arguments, _Addresses(opens=open), port, output_language, lecture)
        return
    if text and len(arguments) > 1:
        raise UsageError("--text shows one container", hint="--export FILE shows several")
    subjects = _plans(plan)
    if arguments or flag or not plan:
        subjects += _subjects(arguments, flag, wanted)
    if text:
        from minidock.teach.look.text import write_text

        write_text(subjects[0], unfold, language=output_language)
        return
    _export(str(export), subjects, output_language, lecture)


def _export(path: str, subjects: list[Subject], language: Language, lecture: str | None) -> None:
    """Write the page to a file, or to stdout."""
    from minidock.cli.output.archive_output import Output
    from minidock.teach.look.export import export

    names = [subject.container.name for subject in subjects if subject.container]
    page = export(subjects, language=language, lecture=_lecture(lecture, shown=names))
    with Output("" if path == "-" else path, "export the picture") as stream:
        stream.write(page)
        if path != "-":
            _make_readable(stream)


def _lecture(path: str | None, shown: list[str]) -> Lecture | None:
    """Read a lecture. shown: the containers that the page has; empty for all.

    Raises UsageError, also if it shows another one.
    """
    if path is None:
        return None
    from minidock.teach.look.lecture import containers_of, read_lecture

    lecture = read_lecture(path)
    missing = [name for name in containers_of(lecture) if shown and name not in shown]
    if missing:
        raise UsageError(
            f"--lecture {path} shows {', '.join(missing)}", hint="name each of its containers"
        )
    return lecture


def _serve(
    arguments: tuple[str, ...],
    addresses: _Addresses,
    port: int,
    language: Language,
    lecture: str | None,
) -> None:
    """Serve the page until Ctrl-C."""
    _require_root()
    from minidock.engine.container.lookup import find
    from minidock.teach.look.live.site import serve

    store = Store()
    containers = [find(store, name) for name in arguments]
    ids = [container.id for container in containers]
    steps = _lecture(lecture, shown=[container.name for container in containers])
    serve(store, ids, port=port, language=language, announce=addresses, lecture=steps)


class _Addresses:
    """Prints the address of the page, and another one when it was used.

    opens: whether the first one is opened in a browser, where there is one.
    """

    def __init__(self, *, opens: bool) -> None:
        self._opens = opens
        self._was_used = False
        self._opened: IO[bytes] | None = None

    def __call__(self, address: str) -> None:
        if self._was_used:
            print(f"for another browser: {address}", flush=True)
            if self._opened:
                self._opened.close()
            return
        self._was_used = True
        print(address, flush=True)
        if self._opens:
            from minidock.teach.look.live.desktop import open_in_browser

            self._opened = open_in_browser(address)
        ask = (
            "Ctrl-C ends."
            if self._opened
            else "Open it in a browser on this machine, once. Ctrl-C ends."
        )
        print(ask, file=sys.stderr)


def _make_readable(stream: BinaryIO) -> None:
    """Give a new file the mode that any file gets: the page is for readers without root."""
    mask = os.umask(0)
    os.umask(mask)
    if stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
        os.fchmod(stream.fileno(), 0o666 & ~mask)


def _check(
    *, text: bool, export: str | None, unfold: tuple[str, ...], port: int, lecture: str | None
) -> None:
    """Refuse flags that exclude or require each other, and unknown rows."""
    if text and export is not None:
        raise UsageError("--text and --export exclude each other")
    if export == "":
        raise UsageError("--export requires a file, or '-' for stdout")
    if not 0 <= port <= _PORT_MAX:
        raise UsageError(f"--port {port}: a port is a number from 0 to {_PORT_MAX}")
    if port and (text or export):
        raise UsageError(f"--port excludes {'--text' if text else '--export'}")
    if lecture is not None and text:
        raise UsageError("--lecture excludes --text")
    if unfold and not text:
        raise UsageError("--unfold requires --text", hint="minidock look --text --unfold ROW NAME")
    check_rows(unfold)


def _subjects(arguments: tuple[str, ...], flag: str, wanted: str) -> list[Subject]:
    """The subjects, as `explain` has them."""
    from minidock.engine.container.lookup import find

    if not arguments and flag not in OF_STORE:
        raise UsageError(f"{flag or 'look'} requires a container", hint="minidock ps -a")
    _require_root()
    if flag in OF_STORE:
        return [subject_of_store(flag, wanted)]
    found = [find(Store(), name) for name in arguments]
    return [subject_of(container, flag, wanted) for container in found]


def _plans(texts: tuple[str, ...]) -> list[Subject]:
    """The plans as subjects; what they assume goes to stderr."""
    from minidock.cli.verbs.plan import planned_from
    from minidock.teach.plan.entries import subject_of_plan

    found = []
    for text in texts:
        made = planned_from(text)
        for note in made.notes:
            print(printable(f"{text}: assumed: {note}"), file=sys.stderr)
        found.append(subject_of_plan(made, f"{text} · plan"))
    return found


def _require_root() -> None:
    if os.geteuid() != 0:
        raise NeedsRoot("`minidock look` needs root", hint="put sudo before it")
