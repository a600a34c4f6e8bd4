"""Words of a shell script: the literals of a run become variables, quoted as a shell needs it.

A twin (kernel/op.py) is a command with this run's values in it. Before it is written, each known
value in an op's arguments is replaced by a mark: its variable's name between two NULs, the one
character that no argument, path or variable of a run can have. Afterwards, each word with marks in
it becomes "$ROOTFS/etc/hosts" in double quotes.

What is not printable is written as a variable too (NL, X1B): a script is read on terminals, and
each of its commands stays on lines of its own.

Source: POSIX, Shell Command Language, 2.2 Quoting.
"""

from __future__ import annotations

import re

from minidock.runtime.program import Slot
from minidock.teach.plan.planned_ops import PLACE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_MARK = re.compile(r"\0([A-Z][A-Z_0-9]*)\0")
_WORD = re.compile(r"""(?:'[^']*'|"'"|[^\s'"();<>|&])+""")
_PIECE = re.compile(r"""'([^']*)'|"(')"|([^'"]+)""")
_PLAIN = re.compile(r"[A-Za-z0-9@%+=:,./_-]+")
_BYTE = re.compile(r"\$\{(NL|X[0-9A-F]{2})\}")


def mark_of(name: str) -> str:
    """What stands for a variable until its word is written."""
    return f"\0{name}\0"


class Variables:
    """Which literal stands for which variable.

    values: literal -> name; a literal counts where no letter or digit continues it.
    """

    def __init__(self, values: dict[str, str]) -> None:
        longest_first = sorted(values, key=len, reverse=True)
        self._values = values
        pattern = "|".join(re.escape(literal) for literal in longest_first) or r"(?!)"  # none
        self._literals = re.compile(rf"(?<![\w.])({pattern})(?![\w]|\.[0-9])")

    def mark(self, value: Any) -> Any:
        """A value of the journal's kind, with marks for what is known."""
        if isinstance(value, Slot):
            return mark_of(value.name.upper())
        if isinstance(value, dict):
            return {name: self.mark(each) for name, each in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.mark(each) for each in value]
        if not isinstance(value, str):
            return value
        if value in (PLACE, "$keeper"):
            return re.sub(r"\$(pid|keeper)", lambda match: mark_of(match[1].upper()), value)
        return self._literals.sub(lambda match: mark_of(self._values[match[1]]), value)


def command(marked: str) -> str:
    """A command whose marks, and unprintable characters, are variables in double quotes."""

    def written(match: re.Match[str]) -> str:
        found = match[0]
        as_it_is = found.isascii() and found.isprintable() and not _MARK.search(found)
        return found if as_it_is else _double_quoted(found)

    return _WORD.sub(written, marked)


def word(marked: str) -> str:
    """Any text, marks in it or not, as one word of a shell."""
    if _PLAIN.fullmatch(marked):
        return marked
    if _MARK.search(marked) or not marked.isprintable() or re.search(r"[$`\\]", marked):
        return '"' + text(marked) + '"'
    return "'" + marked.replace("'", "'\"'\"'") + "'"


def text(marked: str, *, kept: str = "") -> str:
    """Text between double quotes: marks and what is not printable are variables, nothing else is.

    kept: characters that stay as they are although they are not printable.
    """
    parts = _MARK.split(marked)
    written = ""
    for place, part in enumerate(parts):
        if place % 2:
            following = parts[place + 1][:1]
            braces = following.isalnum() or following == "_"
            written += f"${{{part}}}" if braces else f"${part}"
        else:
            written += "".join(_character(c) if c not in kept else c for c in part)
    return written


def _character(character: str) -> str:
    if character in '\\"$`':
        return f"\\{character}"
    if character.isprintable():
        return character
    if character == "\n":
        return "${NL}"
    return "".join(f"${{X{byte:02X}}}" for byte in character.encode("utf-8", "surrogateescape"))


def here_document(reader: str, marked: str, delimiter: str) -> str:
    """A command that reads a text, which ends with a line break, from lines below it.

    reader: the command, with @ where its redirection belongs. In the text a double quote is nothing
    special, and marks are variables. delimiter: the last line; lengthened where the text has it.
    """
    content = text(marked, kept='"\n\t')
    while f"\n{delimiter}\n" in f"\n{content}":
        delimiter += "_"
    return f"{reader.replace('@', f'<<{delimiter}')}\n{content}{delimiter}"


def bytes_used(script: str) -> str:
    """The assignments of the variables that stand for unprintable characters in a script."""
    names = sorted(set(_BYTE.findall(script)))
    lines = [f"{name}=$(printf '\\{int(name[1:], 16):03o}')" for name in names if name != "NL"]
    return "\n".join(["NL='\n'"] * ("NL" in names) + lines)


def comment(line: str) -> str:
    """A text as a comment has it: on one line, and nothing that a terminal obeys."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)


def _double_quoted(found: str) -> str:
    raw = "".join("".join(piece) for piece in _PIECE.findall(found))
    return f'"{text(raw)}"'
