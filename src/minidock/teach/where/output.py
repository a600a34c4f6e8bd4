"""where: locate each part of a container, image or volume, on this disk and in the kernel.

    container.py, image.py  ->  Part: its name, its location, and the command that shows it
                            ->  text with $C, $STORE and $ID for long paths; or JSON

All parts are looked up in the kernel; a missing part is not listed. Each command can be pasted into
a shell.
"""

from __future__ import annotations

import json
import re
import shlex

from minidock.teach.page import Paint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO

_NAME_WIDTH = 16


class Part:
    """One part of a container, image or volume.

    name: such as "upper". place: its path, or the kernel's name for it. what: a description.
    command: words, or text if it needs a shell. more: further members of the JSON object.
    """

    def __init__(
        self, name: str, place: str, what: str, command: Sequence[str] | str, **more: object
    ) -> None:
        self.name = name
        self.place = place
        self.what = what
        self.command = command if isinstance(command, str) else shlex.join(command)
        self.more = more

    def plain(self, section: str) -> dict[str, object]:
        """The part as a JSON object."""
        return {
            "section": section,
            "name": self.name,
            "place": self.place,
            "what": self.what,
            "command": self.command,
            **self.more,
        }


class Section:
    """Parts under one title, such as "In the kernel: namespaces"."""

    def __init__(self, title: str, parts: Sequence[Part]) -> None:
        self.title = title
        self.parts = list(parts)


class Location:
    """A container, image or volume with the locations of its parts.

    kind: container, image or volume. id: its id, or a volume's name. title: one line.
    variables: shell variable -> path, longest path first.
    """

    def __init__(
        self, kind: str, id: str, title: str, sections: list[Section], variables: dict[str, str]
    ) -> None:
        self.kind = kind
        self.id = id
        self.title = title
        self.sections = [section for section in sections if section.parts]
        self.variables = variables


def write_json(location: Location, out: TextIO) -> None:
    """Write one JSON document, with commands and paths in full."""
    parts = [part.plain(section.title) for section in location.sections for part in section.parts]
    document = {"kind": location.kind, "id": location.id, "title": location.title, "parts": parts}
    out.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def write_text(location: Location, out: TextIO) -> None:
    """Write text; the commands after "$ " need the assignments in the first lines."""
    paint = Paint(out)
    out.write(paint.bold(location.title) + "\n")
    used = Shortener(location.variables)
    body = [line for section in location.sections for line in _lines(section, used, paint)]
    for line in used.assignments():
        out.write(f"    {line}\n")
    out.write("\n".join(body) + "\n")


def _lines(section: Section, used: Shortener, paint: Paint) -> list[str]:
    lines = ["", paint.bold(section.title)]
    for part in section.parts:
        what = used.shorten(part.what)
        lines.append(f"  {part.name:<{_NAME_WIDTH}}  {what}".rstrip())
        command = used.command(part.command)
        lines.append(" " * (_NAME_WIDTH + 4) + paint.command(f"$ {command}"))
    return lines


class Shortener:
    """Replaces long paths by shell variables, and remembers the variables used.

    variables: name -> path, longer paths first; a path that needs quoting is not replaced.
    """

    def __init__(self, variables: dict[str, str]) -> None:
        self._variables = {n: path for n, path in variables.items() if shlex.quote(path) == path}
        self._used: set[str] = set()

    def shorten(self, text: str) -> str:
        """Shorten a text."""
        for name, path in self._variables.items():
            pattern = re.escape(path) + r"(?![\w.-])"  # not if the name continues
            if re.search(pattern, text):
                text = re.sub(pattern, f"${name}", text)
                self._used.add(name)
        return text

    def command(self, text: str) -> str:
        """Shorten a command, unless it has a path in single quotes."""
        quoted = any(_is_quoted(text, path) for path in self._variables.values())
        return text if quoted else self.shorten(text)

    def assignments(self) -> list[str]:
        """The assignments of the variables used, each in terms of those above it."""
        lines: list[str] = []
        pending = dict(self._variables)
        for name, path in list(pending.items()):
            shorter = {n: p for n, p in self._variables.items() if len(p) < len(path) and p in path}
            for other, part in shorter.items():
                if f"${other}" not in path:
                    path = path.replace(part, f"${other}")
            if name in self._used:
                self._used |= {n for n in shorter if f"${n}" in path}
                lines.insert(0, f"{name}={path}")
        return lines


def _is_quoted(text: str, path: str) -> bool:
    """Whether a path in a command is within single quotes."""
    return any(before.count("'") % 2 for before in _prefixes(text, path))


def _prefixes(text: str, path: str) -> list[str]:
    pieces = text.split(path)
    return [path.join(pieces[:count]) for count in range(1, len(pieces))]
