"""`history`: the build steps of an image, newest first."""

from __future__ import annotations

import time

from minidock.cli.frame.command import command
from minidock.cli.frame.complete import images
from minidock.cli.frame.pflag import switch
from minidock.cli.output.columns import Row
from minidock.cli.output.human import ago, ellipsis, moment_of, short_id, size
from minidock.cli.output.table import format_flag, write_column, write_rows
from minidock.paths import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.engine.image.history import Step

HEADINGS = {
    "ID": "IMAGE",
    "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT",
    "CreatedBy": "CREATED BY",
    "Size": "SIZE",
    "Comment": "COMMENT",
}
_CREATED_BY_MAX = 45


@command("IMAGE", at_least=1, at_most=1, complete=images)
@format_flag
@switch("-H", "--human", default=True, help="Print sizes and times in human-readable form")
@switch("--no-trunc", help="Don't truncate output")
@switch("-q", "--quiet", help="Print only image IDs")
def history(
    arguments: tuple[str, ...], *, format: str, human: bool, no_trunc: bool, quiet: bool
) -> None:
    """List the build steps of an image"""
    from minidock.engine.image.history import history as steps_of

    rows = [row(s, human=human, truncate=not no_trunc) for s in steps_of(Store(), arguments[0])]
    if quiet and format in ("", "table"):
        write_column(rows, "ID")
    else:
        write_rows(rows, format=format, columns=columns(human=human), headings=HEADINGS)


def columns(*, human: bool) -> tuple[str, ...]:
    """The table's own columns."""
    return ("ID", "CreatedSince" if human else "CreatedAt", "CreatedBy", "Size", "Comment")


def row(step: Step, *, human: bool, truncate: bool) -> Row:
    """A line for one step."""
    moment = moment_of(step.created)
    created_by = step.created_by.replace("\t", " ")
    return Row(
        "image.historyContext",
        {
            "ID": lambda: short_id(step.image_id) if truncate else step.image_id,
            "CreatedSince": lambda: _since(moment) if human else _rfc3339(moment),
            "CreatedAt": lambda: _rfc3339(moment),
            "CreatedBy": lambda: ellipsis(created_by, _CREATED_BY_MAX) if truncate else created_by,
            "Size": lambda: size(step.size, digits=3) if human else str(step.size),
            "Comment": lambda: step.comment,
        },
    )


def _since(moment: float) -> str:
    return ago(int(moment)) if moment else "N/A"


def _rfc3339(moment: float) -> str:
    """A moment in local time, as Go's RFC 3339 has it: "2024-05-06T09:08:09+02:00", or "…Z"."""
    local = time.localtime(int(moment))
    zone = time.strftime("%z", local)
    return time.strftime("%Y-%m-%dT%H:%M:%S", local) + (
        "Z" if zone == "+0000" else f"{zone[:3]}:{zone[3:5]}"
    )
