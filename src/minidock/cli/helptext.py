"""`--help`: usage, description, aliases and flags of a command.

The layout is that of Docker's client: the usage line, commands under their headings with one line
each, flags in a column beside their descriptions. Descriptions wrap at the width of the terminal
(80 columns if stdout is not a terminal).
"""

from __future__ import annotations

import os

from minidock.cli.commands import minidock as root
from minidock.cli.frame.lazy import Group

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from minidock.cli.frame.command import HelpTopic
    from minidock.cli.frame.pflag import Flag

    Rows = list[tuple[str, str]]

_NARROWEST = 24  # minimum width of the descriptions
_COMMANDS_BESIDE = 11  # width of the column of command names


def print_help(topic: HelpTopic, path: str) -> None:
    """Print the help text of a command or a group; path: such as "minidock ps"."""
    print("\n".join(_lines(topic, path, _width())))


def _lines(topic: HelpTopic, path: str, width: int) -> list[str]:
    first, *others = topic.synopsis().split("\n")
    lines = ["", f"Usage:  {path} {first}".rstrip(), *(f"\t{path} {other}" for other in others)]
    for paragraph in topic.help.split("\n\n"):
        lines += ["", *_wrap(paragraph.split(), width)]
    if aliases := list_aliases(path):
        lines += ["", "Aliases:", f"  {', '.join(aliases)}"]
    if isinstance(topic, Group):
        for heading, rows in _headings(topic).items():
            lines += ["", f"{heading}:", *(_command(name, line) for name, line in rows)]
    for title, rows in _sections(topic.flags).items():
        lines += ["", f"{title}:", *_columns(rows, width)]
    if isinstance(topic, Group):
        lines += ["", f"Run '{path} COMMAND --help' for more information on a command."]
    return lines


def list_aliases(path: str) -> list[str]:
    """List all names of a command, the given one included; empty if it has only one.

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
    """Return the module and attribute of a command, as in tables: "ps:ps"."""
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
    """Format flags in one column and descriptions in another."""
    indent = max(len(names) for names, _ in rows) + 5
    lines = []
    for names, words in rows:
        first, *others = _wrap(words.split(), max(width - indent, _NARROWEST)) or [""]
        lines.append(f"  {names:<{indent - 2}}{first}".rstrip())
        lines += [" " * indent + other for other in others]
    return lines


def _wrap(words: Iterable[str], width: int) -> list[str]:
    """Wrap words at a width; a word that is wider gets a line of its own."""
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
