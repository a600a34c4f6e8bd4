"""Rows of a table, and alignment of columns.

Columns are aligned by the rules of Go's tabwriter: a column is as wide as its widest cell, plus
three spaces, ten at least; the last cell of a line belongs to no column.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Cells = dict[str, Callable[..., str]]


class Row:
    """One row of a table, with a cell for each possible column.

    type_name: Docker's type of the row, for error messages.
    cells: column -> function that returns its text, called only if the column is shown.
    """

    def __init__(self, type_name: str, cells: Cells) -> None:
        self.type_name = type_name
        self.cells = cells


def align(lines: Sequence[str], *, minimum: int = 10, padding: int = 3) -> list[str]:
    """Align the columns of lines with tab-separated cells."""
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
