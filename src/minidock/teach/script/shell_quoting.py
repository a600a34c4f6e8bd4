"""Words of a shell script: the literals of a run become variables, quoted as a shell needs it.

A twin (kernel/op.py) is a command with the values of this run. Before it is written, each known
value in an op's arguments is replaced by a mark: the variable's name between two NULs, the one
character that no argument, path or variable can contain. Then each word with marks is written in
double quotes, such as "$ROOTFS/etc/hosts".

Unprintable characters become variables too (NL, X1B): people read scripts on terminals, and a
newline in a value must not break a command.

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
    """The mark of a variable."""
    return f"\0{name}\0"


class Variables:
    """Replaces literals by variables.

    values: literal -> name. A literal matches only as a whole word.
    """

    def __init__(self, values: dict[str, str]) -> None:
        longest_first = sorted(values, key=len, reverse=True)
        self._values = values
        pattern = "|".join(re.escape(literal) for literal in longest_first) or r"(?!)"  # none
        self._literals = re.compile(rf"(?<![\w.])({pattern})(?![\w]|\.[0-9])")

    def mark(self, value: object) -> Any:  # of the type of `value`, a Slot a str
        """Replace known literals in an argument by marks."""
        if isinstance(value, Slot):
            return mark_of(value.name.upper())
        if isinstance(value, dict):
            return {name: self.mark(each) for name, each in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.mark(each) for each in value]
        if not isinstance(value, str):
            return value
        if value in (PLACE, "$main_process"):
            return re.sub(r"\$(pid|main_process)", lambda match: mark_of(match[1].upper()), value)
        return self._literals.sub(lambda match: mark_of(self._values[match[1]]), value)


def command(marked: str) -> str:
    """Write a command, with marks and unprintable characters as variables in double quotes."""

    def written(match: re.Match[str]) -> str:
        found = match[0]
        as_it_is = found.isascii() and found.isprintable() and not _MARK.search(found)
        return found if as_it_is else _double_quoted(found)

    return _WORD.sub(written, marked)


def word(marked: str) -> str:
    """Quote any text as one word of a shell."""
    if _PLAIN.fullmatch(marked):
        return marked
    if _MARK.search(marked) or not marked.isprintable() or re.search(r"[$`\\]", marked):
        return '"' + text(marked) + '"'
    return "'" + marked.replace("'", "'\"'\"'") + "'"


def text(marked: str, *, kept: str = "") -> str:
    """Escape text for double quotes; marks and unprintable characters become variables.

    kept: unprintable characters to keep.
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
    """A command with a here-document; the text ends with a newline.

    reader: the command, with @ instead of the redirection. Double quotes in the text are not
    special; marks become variables. delimiter: lengthened if the text contains it.
    """
    content = text(marked, kept='"\n\t')
    while f"\n{delimiter}\n" in f"\n{content}":
        delimiter += "_"
    return f"{reader.replace('@', f'<<{delimiter}')}\n{content}{delimiter}"


def bytes_used(script: str) -> str:
    """The assignments of the variables for unprintable characters that a script uses."""
    names = sorted(set(_BYTE.findall(script)))
    lines = [f"{name}=$(printf '\\{int(name[1:], 16):03o}')" for name in names if name != "NL"]
    return "\n".join(["NL='\n'"] * ("NL" in names) + lines)


def comment(line: str) -> str:
    """Escape a text for a comment: one line, without control characters."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)


def _double_quoted(found: str) -> str:
    raw = "".join("".join(piece) for piece in _PIECE.findall(found))
    return f'"{text(raw)}"'
