"""Tables, as Docker's client prints them: columns by default, JSON or a template with --format.

    --format ""                 the command's own columns
    --format 'table TEMPLATE'   columns of one's own, with headings
    --format json               one JSON object a line
    --format TEMPLATE           whatever the template says of each row

Columns are aligned by the rules of Go's tabwriter: a column is as wide as its widest cell, plus
three spaces, ten at least; the last cell of a line belongs to no column.
"""

from __future__ import annotations

import sys

from minidock.cli.inspecting import FormatError, FormatSyntaxError
from minidock.cli.template import Template, TemplateError
from minidock.cli.template.functions import Function
from minidock.cli.template.values import Struct, html_safe, json_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    Cell = Callable[..., Any]

# What templates call on a heading: the text stays as it is.
_HEADING_FUNCTIONS = {
    "json": Function(str, "any"),
    "lower": Function(str, "any"),
    "title": Function(str, "any"),
    "truncate": Function(lambda text, length: text, "any", "any"),
    "upper": Function(str, "any"),
}


class Row(Struct):
    """One line of a table: a cell for each column that a template may ask for.

    cells: column -> function that gives its text, called only where the column is shown.
    """

    is_pointer = True

    def __init__(self, type_name: str, cells: dict[str, Cell]) -> None:
        self.type_name = type_name
        self._cells = cells

    def field(self, name: str) -> Cell:
        return self._cells[name]

    def values(self) -> list[Any]:
        return []

    def plain(self) -> dict[str, Any]:
        """All columns but those that want an argument, as `{{json .}}` prints them."""
        cells = sorted(self._cells.items())
        return {name: cell() for name, cell in cells if cell.__code__.co_argcount == 0}


def write_rows(
    rows: Iterable[Row], *, format: str, columns: Sequence[str], headings: dict[str, str]
) -> None:
    """Print rows as the command's --format wants them.

    columns: the templates of the command's own table, such as "{{.ID}}".
    headings: column -> its heading in a table.
    """
    template_text = format
    is_table = format in ("", "table") or format.startswith("table ")
    if format in ("", "table"):
        template_text = "\t".join(columns)
    elif is_table:
        template_text = format.removeprefix("table ")
    elif format == "json":
        template_text = "{{json .}}"
    template_text = template_text.strip(" ").replace("\\t", "\t").replace("\\n", "\n")
    try:
        template = Template(template_text)
    except TemplateError as error:
        raise FormatSyntaxError(f"template parsing error: {error}") from None
    functions = {"json": Function(_row_json, "any")}
    try:
        lines = [template.render(row, functions=functions) for row in rows]
        if is_table:
            heading = template.render(_Heading(headings), functions=_HEADING_FUNCTIONS)
            lines = aligned([heading, *lines])
    except TemplateError as error:
        raise FormatError(f"template parsing error: {error}") from None
    sys.stdout.write("".join(f"{line}\n" for line in lines))


def _row_json(value: Any) -> str:
    text = json_text(value)
    return html_safe(text) if isinstance(value, Row) else text


class _Heading(Struct):
    """The headings; `.Label "com.example.some-thing"` heads its column with "some thing"."""

    def __init__(self, headings: dict[str, str]) -> None:
        self._headings = headings

    def field(self, name: str) -> Any:
        if name == "Label":
            return lambda label: label.rpartition(".")[2].replace("-", " ").replace("_", " ")
        return self._headings.get(name)


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
