"""Escape control characters in text for a terminal.

Names, arguments and messages from outside may contain terminal escape sequences (which change the
title, clear the screen or overwrite text), C1 controls and bidirectional marks. So where stdout or
stderr is a terminal, all text is written through `EscapingStream`, which shows them as Go's %q does
(\\x1b, \\u202e), but for line breaks, tabs and colours. A pipe or a file gets every byte as it is.
What a container prints (run, exec, attach, logs) is not text of ours: it goes to the descriptor
itself, as Docker's does. A live view moves the cursor, and takes `raw_stream(stream)`.

Source: ECMA-48; Unicode UAX 9.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import IO, Any

_COLOURS = ("0", "1", "2", "31", "32", "33", "34", "35", "36")  # what teach/page.py's Paint sends
_BIDI = (0x61C, 0x200E, 0x200F, 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_CONTROLS = (*range(0x20), *range(0x7F, 0xA0))
_TABLE = {
    **{number: f"\\x{number:02x}" for number in _CONTROLS},
    **{number: f"\\u{number:04x}" for number in (*_BIDI, *range(0xD800, 0xE000))},
    **{0xDC00 + byte: f"\\x{byte:02x}" for byte in range(0x80, 0x100)},  # a byte that is not UTF-8
    ord("\a"): "\\a", ord("\b"): "\\b", ord("\v"): "\\v", ord("\f"): "\\f", ord("\r"): "\\r",
}  # fmt: skip
_LINES = {number: shown for number, shown in _TABLE.items() if chr(number) not in "\n\t"}
_ONE_LINE = {**_TABLE, ord("\n"): "\\n", ord("\t"): "\\t"}


def escape_controls(text: str, *, one_line: bool = False) -> str:
    """A text of others, with what a terminal would obey spelled out.

    one_line: line breaks and tabs too.
    """
    if text.isprintable():
        return text
    return text.translate(_ONE_LINE if one_line else _LINES)


class EscapingStream:
    """A terminal's stream that shows control characters instead of sending them."""

    def __init__(self, stream: IO[str]) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        self.stream.write(_escape(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:  # the attributes of any stream
        return getattr(self.stream, name)


def _escape(text: str) -> str:
    if text.replace("\n", "").isprintable():
        return text
    first, *rest = text.split("\x1b[")
    pieces = [escape_controls(first)]
    for piece in rest:
        code, mark, behind = piece.partition("m")
        is_colour = mark and all(number in _COLOURS for number in code.split(";"))
        pieces.append(
            f"\x1b[{code}m{escape_controls(behind)}"
            if is_colour
            else escape_controls(f"\x1b[{piece}")
        )
    return "".join(pieces)


def escape_terminal_output() -> None:
    """Have all text for a terminal go through `EscapingStream`, from now on."""
    if sys.stdout is not None and sys.stdout.isatty():
        sys.stdout = EscapingStream(sys.stdout)
    if sys.stderr is not None and sys.stderr.isatty():
        sys.stderr = EscapingStream(sys.stderr)


def raw_stream(stream: IO[str]) -> IO[str]:
    """The terminal behind a guarded stream, for a live view whose own texts are clean."""
    return getattr(stream, "stream", stream)
