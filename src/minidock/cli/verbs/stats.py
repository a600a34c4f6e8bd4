"""`stats`: the resource usage of containers, as a table that is refreshed each second."""

from __future__ import annotations

import io
import sys
import time
from contextlib import redirect_stdout

from minidock.cli.frame.command import command
from minidock.cli.frame.complete import running_containers
from minidock.cli.frame.pflag import switch
from minidock.cli.frame.safe_output import raw_stream
from minidock.cli.output.columns import Row
from minidock.cli.output.human import binary_size, short_id, size
from minidock.cli.output.table import format_flag, write_rows
from minidock.errors import NotFound
from minidock.paths import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.engine.container.containers import Container
    from minidock.engine.container.stats import Sample

_COLUMNS = ("ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs")
_HEADINGS = {
    "Container": "CONTAINER", "ID": "CONTAINER ID", "Name": "NAME", "CPUPerc": "CPU %",
    "MemUsage": "MEM USAGE / LIMIT", "MemPerc": "MEM %", "NetIO": "NET I/O",
    "BlockIO": "BLOCK I/O", "PIDs": "PIDS",
}  # fmt: skip
_CLEAR = "\033[2J\033[H"
_FIRST_SECONDS, _NEXT_SECONDS = 0.5, 1.0


@command("[CONTAINER...]", complete=running_containers)
@switch("-a", "--all", help="Include stopped containers")
@format_flag
@switch("--no-stream", help="Print one sample and exit")
@switch("--no-trunc", help="Don't truncate output")
def stats(
    arguments: tuple[str, ...], *, all: bool, format: str, no_stream: bool, no_trunc: bool
) -> None:
    """Show the resource usage of containers, continuously"""
    from minidock.engine.container.stats import Sample

    store = Store()
    before = {c.id: Sample(c) for c in _containers(store, arguments, all=all)}
    pause = _FIRST_SECONDS
    while True:
        time.sleep(pause if before or not no_stream else 0)
        samples = [Sample(c) for c in _containers(store, arguments, all=all, known=before)]
        rows = [
            _row(sample, before.get(sample.container.id, sample), arguments, truncate=not no_trunc)
            for sample in samples
        ]
        with redirect_stdout(io.StringIO()) as frame:  # one write per frame avoids flicker
            write_rows(rows, format=format, columns=_COLUMNS, headings=_HEADINGS)
        if not no_stream:
            raw_stream(sys.stdout).write(_CLEAR)
        sys.stdout.write(frame.getvalue())
        sys.stdout.flush()
        if no_stream or (arguments and not samples):
            return
        before = {sample.container.id: sample for sample in samples}
        pause = _NEXT_SECONDS


def _containers(
    store: Store, names: tuple[str, ...], *, all: bool, known: dict[str, Sample] | None = None
) -> list[Container]:
    """Return the containers to show. known: those of the last frame."""
    from minidock.engine.container.lookup import find, list_containers

    if not names:
        return [container for container in list_containers(store) if all or container.running]
    found = []
    for name in names:
        try:
            found.append(find(store, name))
        except NotFound:
            if known is None:
                raise
    return found


def _row(sample: Sample, before: Sample, typed: tuple[str, ...], *, truncate: bool) -> Row:
    container = sample.container
    names = [name for name in typed if name == container.name or container.id.startswith(name)]
    identifier = short_id(container.id) if truncate else container.id
    received, sent = sample.network_bytes
    read, written = sample.block_bytes
    memory, limit = sample.memory_bytes, sample.memory_limit_bytes
    return Row(
        "container.statsContext",
        {
            "BlockIO": lambda: f"{size(read, digits=3)} / {size(written, digits=3)}",
            "CPUPerc": lambda: f"{sample.cpu_percent(before):.2f}%",
            "Container": lambda: names[0] if names else identifier,
            "ID": lambda: identifier,
            "MemPerc": lambda: f"{sample.memory_percent:.2f}%",
            "MemUsage": lambda: f"{binary_size(memory)} / {binary_size(limit)}",
            "Name": lambda: container.name,
            "NetIO": lambda: f"{size(received, digits=3)} / {size(sent, digits=3)}",
            "PIDs": lambda: str(sample.pids),
        },
    )
