"""Tables, as Docker's client prints them: a command's own columns, or what --format wants.

Columns are aligned by the rules of Go's tabwriter: a column is as wide as its widest cell, plus
three spaces, ten at least; the last cell of a line belongs to no column. Templates are in
formatted.py, which is imported only where there is one.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    Cells = dict[str, Callable[..., Any]]


class Row:
    """One line of a table: a cell for each column that there is, shown or not.

    type_name: Docker's type of such rows, as errors name it.
    cells: column -> function that gives its text, called only where the column is shown.
    """

    def __init__(self, type_name: str, cells: Cells) -> None:
        self.type_name = type_name
        self.cells = cells


def write_rows(
    rows: Iterable[Row], *, format: str, columns: Sequence[str], headings: dict[str, str]
) -> None:
    """Print rows as --format wants them: "", "table", "table TEMPLATE", "json" or a template.

    columns: those of the command's own table. headings: column -> its heading.
    """
    if format in ("", "table"):
        lines = ["\t".join(headings[column] for column in columns)]
        lines += ["\t".join(_cell(row.cells[column]()) for column in columns) for row in rows]
        lines = aligned(lines)
    else:
        from minidock.cli.formatted import formatted

        lines = formatted(rows, format, headings)
    sys.stdout.write("".join(f"{line}\n" for line in lines))


def _cell(text: str) -> str:
    """A cell that stays in its line and column, where a person looks at the table."""
    if text.isprintable() or not sys.stdout.isatty():
        return text
    from minidock.cli.guarded import visible

    return visible(text, one_line=True)


def write_column(rows: Iterable[Row], column: str) -> None:
    """Print one column without its heading, as -q does."""
    sys.stdout.write("".join(f"{row.cells[column]()}\n" for row in rows))


def aligned(lines: Sequence[str], *, minimum: int = 10, padding: int = 3) -> list[str]:
    """Lines whose cells are separated by tabs, with the columns aligned."""
    rows = [line.split("\t") for text in lines for line in text.split("\n")]
    _align(rows, 0, len(rows), 0, minimum, padding)
    return ["".join(row) for row in rows]


def _align(
    rows: list[list[str]], start: int, end: int, column: int, minimum: int, padding: int
) -> None:
    """Pad one column, in each block of adjacent rows that have it, then those to its right."""
    at = start
    while at < end:
        if column >= len(rows[at]) - 1:
            at += 1
            continue
        stop = at
        while stop < end and column < len(rows[stop]) - 1:
            stop += 1
        width = max(minimum, *(len(row[column]) + padding for row in rows[at:stop]))
        for row in rows[at:stop]:
            row[column] = row[column].ljust(width)
        _align(rows, at, stop, column + 1, minimum, padding)
        at = stop
