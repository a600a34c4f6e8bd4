"""Words of a shell script: the literals of a run become variables, quoted as a shell needs it.

A twin (kernel/op.py) is a command with this run's values in it. Before it is written, each known
value in an op's arguments is replaced by a mark such as @ROOTFS@, whose characters need no quotes
in a shell; afterwards, each word with marks in it becomes "$ROOTFS/etc/hosts" in double quotes.

Source: POSIX, Shell Command Language, 2.2 Quoting.
"""

from __future__ import annotations

import re

from minidock.runtime.program import Slot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_MARK = re.compile(r"@([A-Z][A-Z_0-9]*)@")
_WORD = re.compile(r"""(?:'[^']*'|"'"|[^\s'"();<>|&])+""")
_PIECE = re.compile(r"""'([^']*)'|"(')"|([^'"]+)""")


class Variables:
    """Which literal stands for which variable.

    values: literal -> name; a literal counts where no letter or digit continues it.
    """

    def __init__(self, values: dict[str, str]) -> None:
        longest_first = sorted(values, key=len, reverse=True)
        self._values = values
        pattern = "|".join(re.escape(literal) for literal in longest_first)
        self._literals = re.compile(rf"(?<![\w.])({pattern})(?![\w]|\.\d)")

    def mark(self, value: Any) -> Any:
        """A value of the journal's kind, with marks for what is known."""
        if isinstance(value, Slot):
            return f"@{value.name.upper()}@"
        if isinstance(value, dict):
            return {name: self.mark(each) for name, each in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.mark(each) for each in value]
        if not isinstance(value, str):
            return value
        value = value.replace("$pid", "@PID@").replace("$keeper", "@KEEPER@")
        return self._literals.sub(lambda match: f"@{self._values[match[1]]}@", value)


def command(marked: str) -> str:
    """A command whose marks have become variables in double quotes."""
    return _WORD.sub(
        lambda match: _double_quoted(match[0]) if _MARK.search(match[0]) else match[0], marked
    )


def word(marked: str) -> str:
    """Any text, marks in it or not, as one word of a shell."""
    plain = marked and all(c.isalnum() or c in "@%+=:,./-_" for c in marked)
    if _MARK.search(marked) or "$" in marked or "`" in marked:
        return '"' + text(marked) + '"'
    return marked if plain else "'" + marked.replace("'", "'\"'\"'") + "'"


def text(marked: str) -> str:
    """Text between double quotes, or in a here-document: marks are variables, nothing else is."""
    parts = _MARK.split(marked)
    written = ""
    for place, part in enumerate(parts):
        if place % 2:
            following = parts[place + 1][:1]
            braces = following.isalnum() or following == "_"
            written += f"${{{part}}}" if braces else f"${part}"
        else:
            written += re.sub(r'([\\"$`])', r"\\\1", part)
    return written


def here_text(marked: str) -> str:
    """Text of a here-document, in which a double quote is nothing special."""
    return text(marked).replace('\\"', '"')


def _double_quoted(found: str) -> str:
    raw = "".join("".join(piece) for piece in _PIECE.findall(found))
    return f'"{text(raw)}"'
