"""Text output: wrapped lines, with colours on a terminal."""

from __future__ import annotations

import json
import os
import re
from textwrap import wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO

    from minidock.teach.language import Language

WIDTH = 100
_LABEL_WIDTH = 12


class Paint:
    """Colours, if `out` is a terminal.

    NO_COLOR disables them (https://no-color.org).
    """

    def __init__(self, out: TextIO) -> None:
        self._on = out.isatty() and not os.environ.get("NO_COLOR")

    def __call__(self, code: str, text: str) -> str:
        """Colour a text: `code` is a Select Graphic Rendition parameter (ECMA-48)."""
        return f"\x1b[{code}m{text}\x1b[0m" if self._on and text else text

    def bold(self, text: str) -> str:
        return self("1", text)

    def dim(self, text: str) -> str:
        return self("2", text)

    def command(self, text: str) -> str:
        return self("36", text)


class Page:
    """Writes lines.

    out: the stream. language: of the page's texts. paint: its colours.
    """

    def __init__(self, out: TextIO, language: Language) -> None:
        self.language = language
        self._out = out
        self._unicode = (out.encoding or "utf-8").lower().startswith("utf")
        self.paint = Paint(out)

    def line(self, text: str) -> None:
        """Write one line; "?" for characters that the encoding lacks."""
        text = text.rstrip() + "\n"
        if not self._unicode:
            encoding = self._out.encoding or "ascii"
            text = text.encode(encoding, "replace").decode(encoding)
        self._out.write(text)

    def json(self, value: object) -> None:
        """Write a value as one line of JSON."""
        self._out.write(json.dumps(value, ensure_ascii=not self._unicode) + "\n")

    def fold(self, text: str, indent: str, *, paint: str = "0") -> None:
        """Write prose, wrapped."""
        pieces = wrap(
            text,
            WIDTH,
            initial_indent=indent,
            subsequent_indent=indent,
            break_on_hyphens=False,
            break_long_words=False,
        )
        for piece in pieces:
            self.line(self.paint(paint, piece) if paint != "0" else piece)

    def row(self, label: str, value: str) -> None:
        """Write a label and its value."""
        self.line(f"    {label:<{_LABEL_WIDTH}}{value}")


def truncate(text: str, width: int) -> str:
    """Truncate a text to a width."""
    return text if len(text) <= width else text[: max(width - 1, 0)] + "…"


def size(count: float) -> str:
    """A number of bytes in SI units: 2024607 -> "2.02MB"."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g}{unit}"
        count /= 1000
    return f"{count:.3g}TB"


def plural(number: int, one: str, many: str = "") -> str:
    """A number with its noun: "1 file", "3 files"."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def time_text(us: int) -> str:
    """A number of microseconds as text."""
    if us < 1000:
        return f"{us} µs"
    if us < 1_000_000:
        return f"{us / 1000:.1f} ms"
    return f"{us / 1_000_000:.2f} s" if us < 120_000_000 else f"{us // 60_000_000} min"


def short_ids(text: str) -> str:
    """Shorten ids and digests to twelve digits, as Docker does."""
    return re.sub(r"\b([0-9a-f]{12})[0-9a-f]{20,}", r"\1…", text)


def fold_shell(line: str, width: int) -> Iterator[str]:
    """Split a shell command into lines, each but the last with a backslash at its end.

    It stays the same command: lines end between words, never within quotes; a word longer than the
    page has its own line.
    """
    indent = ""
    while len(line) > width:
        spaces = [at for at in _spaces(line) if at > len(indent)]
        at = max((at for at in spaces if at < width - 1), default=min(spaces, default=0))
        if not at:
            break
        yield line[:at] + " \\"
        indent = "    "
        line = indent + line[at + 1 :]
    yield line


def _spaces(line: str) -> Iterator[int]:
    """The offsets of spaces between the words of a shell command."""
    quote = ""
    for at, character in enumerate(line):
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character == " " and line[:at].strip():
            yield at
