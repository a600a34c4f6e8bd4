"""Format rows by --format.

--format 'table TEMPLATE'   the given columns, with headings
--format json               one JSON object a line
--format TEMPLATE           the template applied to each row
"""

from __future__ import annotations

from minidock.cli.frame.error_output import FIELDS_HINT, SYNTAX_HINT, FormatError
from minidock.cli.output.columns import align
from minidock.cli.output.template.functions import Function
from minidock.cli.output.template.template import Template
from minidock.cli.output.template.values import Struct, TemplateError, html_safe, json_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from minidock.cli.output.columns import Row

# Functions that templates apply to headings: the text stays unchanged.
_ON_HEADINGS = {
    "json": Function(str, "any"),
    "lower": Function(str, "any"),
    "title": Function(str, "any"),
    "truncate": Function(lambda text, length: text, "any", "any"),
    "upper": Function(str, "any"),
}


class RowFields(Struct):
    """A row as a template value: its cells are methods."""

    is_pointer = True

    def __init__(self, row: Row) -> None:
        self.type_name = row.type_name
        self._cells = row.cells

    def field(self, name: str) -> object:
        return self._cells[name]

    def values(self) -> list[object]:
        return []

    def plain(self) -> dict[str, object]:
        """All columns except those with an argument, as `{{json .}}` prints them."""
        cells = sorted(self._cells.items())
        return {name: cell() for name, cell in cells if cell.__code__.co_argcount == 0}


class _Heading(Struct):
    """The headings; `.Label "com.example.some-thing"` heads its column with "some thing"."""

    def __init__(self, headings: dict[str, str]) -> None:
        self._headings = headings

    def field(self, name: str) -> object:
        if name == "Label":
            return lambda label: label.rpartition(".")[2].replace("-", " ").replace("_", " ")
        return self._headings.get(name)


def format_rows(rows: Iterable[Row], format: str, headings: dict[str, str]) -> list[str]:
    """Format rows by a --format; returns lines.

    Raises FormatError for a syntax error or an unknown field.
    """
    is_table = format.startswith("table")  # a newline may follow, or the template at once
    text = "{{json .}}" if format == "json" else format.removeprefix("table")
    text = text.strip(" ").replace("\\t", "\t").replace("\\n", "\n")
    try:
        template = Template(text)
    except TemplateError as error:
        raise FormatError(f"template parsing error: {error}", hint=SYNTAX_HINT) from None
    functions = {"json": Function(_row_json, "any")}
    try:
        lines = [template.render(RowFields(row), functions=functions) for row in rows]
        if not is_table:
            return lines
        heading = template.render(_Heading(headings), functions=_ON_HEADINGS)
    except TemplateError as error:
        raise FormatError(f"template parsing error: {error}", hint=FIELDS_HINT) from None
    return align([heading, *lines])


def _row_json(value: object) -> str:
    text = json_text(value)
    return html_safe(text) if isinstance(value, RowFields) else text


def check_against(row: Row, format: str) -> None:
    """Refuse a template with an unknown field, before there is a row.

    Docker's client does so only for ps, with its own messages.
    """
    try:
        template = Template(format)
    except TemplateError as error:
        raise FormatError(f"failed to parse template: {error}", hint=SYNTAX_HINT) from None
    try:
        template.render(RowFields(row))
    except TemplateError as error:
        raise FormatError(f"failed to execute template: {error}", hint=FIELDS_HINT) from None
