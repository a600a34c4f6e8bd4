"""A page of text: lines of a width, in colours on a terminal and without them in a pipe."""

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
    """Colours, on a terminal that wants them.

    They are left out where `out` is no terminal, and where NO_COLOR is set (https://no-color.org).
    """

    def __init__(self, out: TextIO) -> None:
        self._on = out.isatty() and not os.environ.get("NO_COLOR")

    def __call__(self, code: str, text: str) -> str:
        """Text in a colour: `code` is what ECMA-48 calls Select Graphic Rendition."""
        return f"\x1b[{code}m{text}\x1b[0m" if self._on and text else text

    def bold(self, text: str) -> str:
        return self("1", text)

    def dim(self, text: str) -> str:
        return self("2", text)

    def command(self, text: str) -> str:
        return self("36", text)


class Page:
    """Writes lines.

    out: where to. language: what the page's words are said in. paint: its colours.
    """

    def __init__(self, out: TextIO, language: Language) -> None:
        self.language = language
        self._out = out
        self._unicode = (out.encoding or "utf-8").lower().startswith("utf")
        self.paint = Paint(out)

    def line(self, text: str) -> None:
        """One line as it is; "?" for what the terminal has no character for."""
        text = text.rstrip() + "\n"
        if not self._unicode:
            encoding = self._out.encoding or "ascii"
            text = text.encode(encoding, "replace").decode(encoding)
        self._out.write(text)

    def json(self, value: object) -> None:
        """A value as one line of JSON."""
        self._out.write(json.dumps(value, ensure_ascii=not self._unicode) + "\n")

    def fold(self, text: str, indent: str, *, paint: str = "0") -> None:
        """Prose, on as many lines as it takes."""
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
        """A label, and what it is about."""
        self.line(f"    {label:<{_LABEL_WIDTH}}{value}")


def truncate(text: str, width: int) -> str:
    """A text's beginning, where it is longer than a width."""
    return text if len(text) <= width else text[: max(width - 1, 0)] + "…"


def size(count: float) -> str:
    """A number of bytes in thousands: 2024607 -> "2.02MB"."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g}{unit}"
        count /= 1000
    return f"{count:.3g}TB"


def plural(number: int, one: str, many: str = "") -> str:
    """A number with its noun: "1 file", "3 files"."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def time_text(us: int) -> str:
    """A number of microseconds, in a unit that suits it."""
    if us < 1000:
        return f"{us} µs"
    if us < 1_000_000:
        return f"{us / 1000:.1f} ms"
    return f"{us / 1_000_000:.2f} s" if us < 120_000_000 else f"{us // 60_000_000} min"


def short_ids(text: str) -> str:
    """Ids and digests cut to the twelve digits by which Docker shows them."""
    return re.sub(r"\b([0-9a-f]{12})[0-9a-f]{20,}", r"\1…", text)


def fold_shell(line: str, width: int) -> Iterator[str]:
    """A shell command on lines of a width, each but the last ending in a backslash.

    It is the same command afterwards: a line ends between two words, never in quotes, and a word
    that is longer than the page has a line of its own.
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
    """Where a shell command has spaces between two words."""
    quote = ""
    for at, character in enumerate(line):
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character == " " and line[:at].strip():
            yield at
