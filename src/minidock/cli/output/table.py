"""Print tables as Docker's client does: the default columns, or those of --format.

row_format.py handles templates; it is imported only for a template.
"""

from __future__ import annotations

import sys

from minidock.cli.frame.pflag import value
from minidock.cli.output.columns import align

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from minidock.cli.output.columns import Row

format_flag = value(
    "--format",
    default="",
    help="Format output: 'table', 'table TEMPLATE', 'json' or a Go template",
)


def write_rows(
    rows: Iterable[Row], *, format: str, columns: Sequence[str], headings: dict[str, str]
) -> None:
    """Print rows by --format: "", "table", "table TEMPLATE", "json" or a template.

    columns: the default columns of the command. headings: column -> its heading.
    """
    if format in ("", "table"):
        lines = ["\t".join(headings[column] for column in columns)]
        lines += ["\t".join(_cell(row.cells[column]()) for column in columns) for row in rows]
        lines = align(lines)
    else:
        from minidock.cli.output.row_format import format_rows

        lines = format_rows(rows, format, headings)
    sys.stdout.write("".join(f"{line}\n" for line in lines))


def _cell(text: str) -> str:
    """Escape a cell that would break its row, if stdout is a terminal."""
    if text.isprintable() or not sys.stdout.isatty():
        return text
    from minidock.cli.frame.safe_output import escape_controls

    return escape_controls(text, one_line=True)


def write_column(rows: Iterable[Row], column: str) -> None:
    """Print one column without its heading, as -q does."""
    sys.stdout.write("".join(f"{row.cells[column]()}\n" for row in rows))
