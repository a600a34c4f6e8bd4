"""`look`: the creation of a container as a picture that replays, or its summary as text."""

from __future__ import annotations

import os
import stat

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
@value("--exec", help="Show an exec session of the container, by its ID or 'last'")
@switch("--health", help="Show the last probe of the container's health check")
@switch("--cp", help="Show the last copy into or out of the container")
@switch("--build", help="Show the last build that created a layer")
@value("--network", help="Show the operations of a network, its connects and disconnects")
@value("--lang", help="Language of the output (en, ru; default from LANG)")
def look(
    arguments: tuple[str, ...],
    *,
    text: bool,
    unfold: tuple[str, ...],
    export: str | None,
    exec: str | None,
    health: bool,
    cp: bool,
    build: bool,
    network: str | None,
    lang: str | None,
) -> None:
    """Show how containers were made, as an animated picture or as text

    --export writes one HTML file, which needs neither a server nor root: host and container, the
    processes in time, and each operation with what it changes. --text prints twelve rows: the
    isolations that `run --without` knows, and the layers.
    """
    from minidock.teach.language import language

    output_language = language(lang or "")
    asked = {"--exec": exec, "--health": health, "--cp": cp, "--build": build, "--network": network}
    wanted = {flag: str(word) for flag, word in asked.items() if word}
    _check(text=text, export=export, unfold=unfold, wanted=wanted)
    if text and len(arguments) > 1:
        raise UsageError("--text shows one container", hint="--export FILE shows several")
    subjects = _subjects(arguments, wanted)
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


def _check(
    *, text: bool, export: str | None, unfold: tuple[str, ...], wanted: dict[str, str]
) -> None:
    """Refuse flags that exclude or require each other, and unknown rows."""
    from minidock.teach.look.rows import ROWS

    if len(wanted) > 1:
        raise UsageError(f"{' and '.join(wanted)}: these flags exclude each other")
    if text and export is not None:
        raise UsageError("--text and --export exclude each other")
    if not text and not export:
        raise UsageError(
            "look requires --text or --export FILE",
            hint="minidock look --text NAME     or: minidock look --export look.html NAME",
        )
    if unfold and not text:
        raise UsageError("--unfold requires --text", hint="minidock look --text --unfold ROW NAME")
    for row in unfold:
        if row not in ROWS:
            raise UsageError(f'--unfold: unknown row "{row}"', hint=f"one of {', '.join(ROWS)}")


def _subjects(arguments: tuple[str, ...], wanted: dict[str, str]) -> list[Subject]:
    """The subjects, as `explain` has them."""
    from minidock.engine.container.lookup import find
    from minidock.teach import subject

    flag = next(iter(wanted), "")
    if not arguments and flag not in ("--build", "--network"):
        raise UsageError(f"{flag or 'look'} requires a container", hint="minidock ps -a")
    if os.geteuid() != 0:
        raise NeedsRoot("`minidock look` needs root", hint="put sudo before it")
    if flag == "--build":
        return [subject.build_of(Store())]
    if flag == "--network":
        return [subject.network_of(Store(), wanted[flag])]
    found = [find(Store(), name) for name in arguments]
    if flag == "--exec":
        return [subject.exec_of(container, wanted[flag]) for container in found]
    of_container = {"": subject.run_of, "--health": subject.health_of, "--cp": subject.copy_of}
    return [of_container[flag](container) for container in found]
