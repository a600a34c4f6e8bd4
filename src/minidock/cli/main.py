"""The command `minidock`: run one command line and return its exit code.

Each command is in its own module, imported when it runs. This module reports their exceptions as
one sentence, a hint, a reference and Docker's exit code. Tracebacks appear only with --debug.
"""

from __future__ import annotations

import _warnings
import codecs
import io
import os
import sys

from minidock.cli.commands import minidock
from minidock.cli.frame.command import HelpRequest
from minidock.cli.frame.error_output import print_error, print_skipped
from minidock.document import listen_for_skipped
from minidock.errors import MinidockError


def _encode_replacement(error: UnicodeError) -> tuple[bytes, int]:
    """Encode what UTF-8 cannot: undecodable bytes of an argument as they were (PEP 383), and a lone
    surrogate of JSON as U+FFFD, as Go does."""
    assert isinstance(error, UnicodeEncodeError)
    odd = error.object[error.start : error.end]
    written = [
        bytes([ord(each) - 0xDC00]) if "\udc80" <= each <= "\udcff" else "\ufffd".encode()
        for each in odd
    ]
    return b"".join(written), error.end


def replace_unencodable(stream: object) -> None:
    """Make a text stream write any character; a strict stream raises UnicodeEncodeError."""
    codecs.register_error("minidock_replace", _encode_replacement)
    if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
        stream.reconfigure(errors="minidock_replace")


def run(argv: list[str]) -> int:
    """Run one command line and report errors; returns the exit code."""
    replace_unencodable(sys.stdout)
    debug = argv[:1] in (["-D"], ["--debug"])
    if not debug:
        # Python's own warnings are for programmers. (The module `warnings` uses this very list.)
        _warnings.filters.insert(0, ("ignore", None, Warning, None, 0))
    if os.isatty(1) or os.isatty(2):
        from minidock.cli.frame.safe_output import escape_terminal_output

        escape_terminal_output()
    listen_for_skipped(print_skipped)
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
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # so that no later write fails
        return 141  # 128 + SIGPIPE: as if the signal had ended this process
    except MinidockError as error:
        if debug:
            raise
        print_error(error)
        return error.exit_code


def _run_or_help(argv: list[str]) -> int:
    try:
        return minidock.run("minidock", argv)
    except HelpRequest as request:
        from minidock.cli.helptext import print_help

        print_help(request.topic, request.path)
        return 0


def _reader_is_gone() -> bool:
    """Whether the reader of our standard output has closed its end of the pipe."""
    import select

    watch = select.poll()
    watch.register(1, 0)
    return any(event & select.POLLERR for _, event in watch.poll(0))
