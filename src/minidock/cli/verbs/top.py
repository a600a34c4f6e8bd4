"""`top`: the processes of a container, as ps on the host sees them."""

from __future__ import annotations

from minidock.cli.frame.command import command
from minidock.cli.frame.complete import running_containers
from minidock.cli.output.columns import align
from minidock.paths import Store


@command("CONTAINER [ps OPTIONS]", at_least=1, flags_first=True,
    complete=running_containers,
)  # fmt: skip
def top(arguments: tuple[str, ...]) -> None:
    """List the processes of a container"""
    from minidock.engine.lifecycle.top import top as ps

    titles, rows = ps(Store(), arguments[0], list(arguments[1:]))
    for line in align(["\t".join(row) for row in (titles, *rows)], minimum=20):
        print(line)
