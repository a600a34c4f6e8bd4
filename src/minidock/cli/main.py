"""The command `minidock`: runs one command line, and ends it.

What a command does is in its own module, imported when it is run. This module turns what they raise
into what a person sees: one sentence, a hint, where to read on, and Docker's exit code. Tracebacks
only with --debug.
"""

from __future__ import annotations

import _warnings
import codecs
import io
import os
import sys

from minidock.cli.commands import minidock
from minidock.cli.frame.command import HelpAsked
from minidock.cli.frame.failure import complain
from minidock.document import listen_for_skipped
from minidock.errors import MinidockError


def _odd_characters(error: UnicodeError) -> tuple[bytes, int]:
    """What is written for characters that UTF-8 has not: an argument's odd bytes as they came
    (PEP 383), and U+FFFD for half a surrogate pair of somebody's JSON, as Go has it."""
    assert isinstance(error, UnicodeEncodeError)
    odd = error.object[error.start : error.end]
    written = [
        bytes([ord(each) - 0xDC00]) if "\udc80" <= each <= "\udcff" else "\ufffd".encode()
        for each in odd
    ]
    return b"".join(written), error.end


def write_any_character(stream: object) -> None:
    """Have a stream of text write whatever there is: a strict one raises, in most locales."""
    codecs.register_error("odd_characters", _odd_characters)
    if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
        stream.reconfigure(errors="odd_characters")


def run(argv: list[str]) -> int:
    """Run one command line; returns its exit code, having said what went wrong."""
    write_any_character(sys.stdout)
    debug = argv[:1] in (["-D"], ["--debug"])
    if not debug:
        # Python's own warnings are for programmers. (The module `warnings` uses this very list.)
        _warnings.filters.insert(0, ("ignore", None, Warning, None, 0))
    if os.isatty(1) or os.isatty(2):
        from minidock.cli.frame.safe_output import guard_terminals

        guard_terminals()
    listen_for_skipped(complain)
    try:
        if asked := os.environ.get("_MINIDOCK_COMPLETE"):
            from minidock.cli.click_adapter import complete

            return complete(minidock, asked)
        code = _run_or_help(argv)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        if debug or not _reader_is_gone():
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # so that nothing more is written to it
        return 141  # 128 + SIGPIPE: what a program says that this signal ended
    except MinidockError as error:
        if debug:
            raise
        complain(error)
        return error.exit_code


def _run_or_help(argv: list[str]) -> int:
    try:
        return minidock.run("minidock", argv)
    except HelpAsked as asked:
        from minidock.cli.helptext import print_help

        print_help(asked.thing, asked.path)
        return 0


def _reader_is_gone() -> bool:
    """Has the program that reads our standard output closed its end of the pipe?"""
    import select

    watch = select.poll()
    watch.register(1, 0)
    return any(event & select.POLLERR for _, event in watch.poll(0))
