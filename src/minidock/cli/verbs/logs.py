"""`logs`: print what a container wrote to stdout and stderr."""

from __future__ import annotations

import os

from minidock.cli.frame.command import command
from minidock.cli.frame.complete import containers
from minidock.cli.frame.pflag import switch, unsupported, value
from minidock.errors import UsageError
from minidock.numerals import is_decimal
from minidock.paths import Store


@command("CONTAINER", at_least=1, at_most=1, complete=containers)
@unsupported("--details", because="log attributes are not supported", bare="true",
         unless=("false",))  # fmt: skip
@switch("-f", "--follow", help="Follow log output")
@value(
    "--since",
    help='Show logs since a time ("2013-01-02T13:23:37Z", or relative: "42m")',
)
@value(
    "-n", "--tail", default="all", help='Number of lines to show from the end of the logs, or "all"'
)
@switch("-t", "--timestamps", help="Show timestamps")
@value("--until", help="Show logs before a time (same format as --since)")
def logs(
    arguments: tuple[str, ...],
    *,
    follow: bool,
    since: str | None,
    tail: str,
    timestamps: bool,
    until: str | None,
) -> None:
    """Print the output of a container"""
    from minidock.engine.monitor.json_file_log import stream

    lines = stream(
        Store(),
        arguments[0],
        follow=follow,
        tail=int(tail) if is_decimal(tail) else None,  # anything else means "all", as in Docker
        since=_moment("since", since),
        until=_moment("until", until),
        timestamps=timestamps,
    )
    for name, content in lines:
        fd = 2 if name == "stderr" else 1
        while content:
            content = content[os.write(fd, content) :]


def _moment(flag: str, text: str | None) -> float | None:
    if not text:
        return None
    from minidock.cli.flags.since_until import parse_timestamp

    try:
        return parse_timestamp(text)
    except ValueError as error:
        raise UsageError(f'invalid value for "{flag}": {error}') from None
