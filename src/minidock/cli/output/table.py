"""Tables, as Docker's client prints them: a command's own columns, or what --format wants.

Templates are in row_format.py, which is imported only where there is one.
"""

from __future__ import annotations

import sys

from minidock.cli.output.columns import align

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from minidock.cli.output.columns import Row


def write_rows(
    rows: Iterable[Row], *, format: str, columns: Sequence[str], headings: dict[str, str]
) -> None:
    """Print rows as --format wants them: "", "table", "table TEMPLATE", "json" or a template.

    columns: those of the command's own table. headings: column -> its heading.
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
    """A cell that stays in its line and column, where a person looks at the table."""
    if text.isprintable() or not sys.stdout.isatty():
        return text
    from minidock.cli.frame.safe_output import escape_controls

    return escape_controls(text, one_line=True)


def write_column(rows: Iterable[Row], column: str) -> None:
    """Print one column without its heading, as -q does."""
    sys.stdout.write("".join(f"{row.cells[column]()}\n" for row in rows))
