"""`--help`: a command's usage, what it does, its other spellings, and its flags.

The layout is that of Docker's client, for whom knows one should find their way in the other: the
usage line first, commands under their headings with a line each, flags in a column beside their
words, which are broken where the terminal ends (80 columns where there is none).

Only strings: a help text costs no more than any other command that ends at once.
"""

from __future__ import annotations

import os

from minidock.cli.commands import minidock as root
from minidock.cli.frame.lazy import Group

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from minidock.cli.frame.command import Described
    from minidock.cli.frame.pflag import Flag

    Rows = list[tuple[str, str]]

_NARROWEST = 24  # columns that words get at least, whatever the flags beside them take
_COMMANDS_BESIDE = 11  # columns of a command's name


def print_help(thing: Described, path: str) -> None:
    """Print the help text of a command or a group; path: the words by which it was called."""
    print("\n".join(_lines(thing, path, _width())))


def _lines(thing: Described, path: str, width: int) -> list[str]:
    first, *others = thing.synopsis().split("\n")
    lines = ["", f"Usage:  {path} {first}".rstrip(), *(f"\t{path} {other}" for other in others)]
    for paragraph in thing.help.split("\n\n"):
        lines += ["", *_broken(paragraph.split(), width)]
    if spellings := other_spellings(path):
        lines += ["", "Aliases:", f"  {', '.join(spellings)}"]
    if isinstance(thing, Group):
        for heading, rows in _headings(thing).items():
            lines += ["", f"{heading}:", *(_command(name, line) for name, line in rows)]
    for title, rows in _sections(thing.flags).items():
        lines += ["", f"{title}:", *_columns(rows, width)]
    if isinstance(thing, Group):
        lines += ["", f"Run '{path} COMMAND --help' for more information on a command."]
    return lines


def other_spellings(path: str) -> list[str]:
    """All the ways to type a command, itself among them; none where there is one way only.

    path: such as "minidock ps", whose others are "minidock container ls" and its aliases.
    """
    program, *words = path.split()
    if not words or len(words) > 2:
        return []
    nouns = words[:1] if len(words) == 2 else ["container", "image", "system"]
    target = _target(root, words)
    found = []
    for noun in nouns:
        group = root.find(noun)
        if isinstance(group, Group):
            found += [f"{program} {noun} {name}" for name in _names_of(group, target)]
    found += [f"{program} {name}" for name in _names_of(root, target)]
    return found if len(found) > 1 else []


def _target(root: Group, words: list[str]) -> str:
    """Where the code of a command is, as tables name it: "ps:ps"."""
    group = root if len(words) == 1 else root.find(words[0])
    assert isinstance(group, Group)
    name = group.aliases.get(words[-1], words[-1])
    return group.table[name][1]


def _names_of(group: Group, target: str) -> list[str]:
    names = [name for name, (_, place, _) in group.table.items() if place == target]
    return names + [alias for alias, name in group.aliases.items() if name in names]


def _headings(group: Group) -> dict[str, Rows]:
    headings: dict[str, Rows] = {}
    for name, (heading, _, line) in group.table.items():
        headings.setdefault(heading, []).append((name, line))
    return headings


def _command(name: str, line: str) -> str:
    return f"  {name:<{_COMMANDS_BESIDE}} {line}"


def _sections(flags: list[Flag]) -> dict[str, Rows]:
    sections: dict[str, Rows] = {}
    for flag in flags:
        if not flag.hidden:
            sections.setdefault(flag.section, []).append(flag.help_row())
    return sections


def _columns(rows: Rows, width: int) -> list[str]:
    """Flags, and what they do in a column of its own."""
    indent = max(len(names) for names, _ in rows) + 5
    lines = []
    for names, words in rows:
        first, *others = _broken(words.split(), max(width - indent, _NARROWEST)) or [""]
        lines.append(f"  {names:<{indent - 2}}{first}".rstrip())
        lines += [" " * indent + other for other in others]
    return lines


def _broken(words: Iterable[str], width: int) -> list[str]:
    """Words in lines of a width at most; a word that is wider has a line of its own."""
    lines: list[str] = []
    for word in words:
        if lines and len(lines[-1]) + 1 + len(word) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def _width() -> int:
    try:
        return os.get_terminal_size(1).columns or 80
    except OSError:
        return 80
