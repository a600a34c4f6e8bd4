"""Progress of a pull or push, one line per layer.

To a pipe, it prints Docker's lines, one for each new state. On a terminal each layer has one line,
with a bar during the transfer; only then is rich imported.
"""

from __future__ import annotations

import threading

from minidock.engine.registry.transfer_progress import Reporter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO

    from rich.progress import Progress, ProgressColumn, Task, TaskID
    from rich.text import Text

_REFRESH_PER_SECOND = 8
_BAR_WIDTH = 30


def layers_progress(stream: IO[str], *, quiet: bool = False) -> LayerLines | LayerBars | Quiet:
    """`with layers_progress(sys.stdout) as progress:` choose the display for a stream."""
    if quiet:
        return Quiet()
    return LayerBars(stream) if stream.isatty() else LayerLines(stream)


class Quiet(Reporter):
    """Prints nothing."""

    def __enter__(self) -> Quiet:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        return


class LayerLines(Reporter):
    """Docker's lines for a pipe."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def __enter__(self) -> LayerLines:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        return

    def line(self, text: str) -> None:
        with self._lock:
            print(text, file=self._stream, flush=True)

    def layer(self, name: str, status: str, done: int = 0, total: int = 0) -> None:
        if not total:  # no intermediate progress, only the states
            self.line(f"{name}: {status}")


class LayerBars(Reporter):
    """A live table on a terminal; a line of text ends it, and a new table begins below."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._table: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> LayerBars:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        with self._lock:
            self._end_table()

    def line(self, text: str) -> None:
        with self._lock:
            self._end_table()
            print(text, file=self._stream, flush=True)

    def layer(self, name: str, status: str, done: int = 0, total: int = 0) -> None:
        with self._lock:
            if self._table is None:
                self._table = _table(self._stream)
                self._table.start()
            if name not in self._tasks:
                self._tasks[name] = self._table.add_task(status, total=None, layer=name)
            self._table.update(self._tasks[name], description=status, completed=done, total=total)

    def _end_table(self) -> None:
        if self._table is not None:
            self._table.stop()
        self._table = None
        self._tasks.clear()


def _table(stream: IO[str]) -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TransferSpeedColumn,
    )

    from minidock.cli.frame.safe_output import raw_stream

    console = Console(file=raw_stream(stream), highlight=False)
    columns: list[ProgressColumn] = [
        TextColumn("[cyan]{task.fields[layer]}[/]: {task.description}"),
        *(
            _while_busy(kind)
            for kind in (BarColumn(bar_width=_BAR_WIDTH), DownloadColumn(), TransferSpeedColumn())
        ),
    ]
    return Progress(*columns, console=console, refresh_per_second=_REFRESH_PER_SECOND)


def _while_busy(column: ProgressColumn) -> ProgressColumn:
    """Return the column, empty for a layer without a transfer."""
    from rich.text import Text

    draw = column.render

    def render(task: Task) -> Text:
        return draw(task) if task.total else Text()  # type: ignore[return-value]

    column.render = render  # type: ignore[method-assign]
    return column
