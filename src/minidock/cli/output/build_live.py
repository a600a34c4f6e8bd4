"""A live view of a build on a terminal: running steps, their times and last output lines.

    [+] Building 3.4s (5/8)
     => [1/4] FROM docker.io/library/debian:latest                                    0.0s
     => CACHED [2/4] RUN apt-get update                                               0.0s
     => [3/4] RUN make                                                                2.9s
     => => cc -o hello hello.c

Finished steps move up and stay; running ones are redrawn a few times a second, by rich.
"""

from __future__ import annotations

import sys
import threading
import time

from rich.console import Console, Group
from rich.live import Live as RichLive
from rich.text import Text

from minidock.cli.frame.safe_output import raw_stream
from minidock.cli.output.build_progress import Screen
from minidock.engine.build.progress import Vertex

_LINES = 6
_REFRESH_PER_SECOND = 10


class Live(Screen):
    """BuildKit's view of a build, on stderr."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._console = Console(file=raw_stream(sys.stderr), highlight=False, force_terminal=True)
        self._vertices: list[LiveVertex] = []
        self._began = time.monotonic()
        self._live = RichLive(
            console=self._console,
            get_renderable=self._view,
            refresh_per_second=_REFRESH_PER_SECOND,
            redirect_stdout=False,
            redirect_stderr=False,
            vertical_overflow="crop",
        )

    def __enter__(self) -> Live:
        self._live.__enter__()
        return self

    def close(self) -> None:
        self._live.stop()

    def vertex(self, name: str) -> LiveVertex:
        made = LiveVertex(name)
        with self._lock:
            self._vertices.append(made)
        return made

    def _view(self) -> Group:
        with self._lock:
            vertices = list(self._vertices)
        ended = sum(vertex.ended for vertex in vertices)
        seconds = time.monotonic() - self._began
        state = " FINISHED" if vertices and ended == len(vertices) else ""
        head = Text(f"[+] Building {seconds:.1f}s ({ended}/{len(vertices)}){state}")
        lines = [head]
        room = max(self._console.height - 2, 3)
        for vertex in vertices:
            lines += vertex.lines(self._console.width)
        if len(lines) > room:
            lines = [head, *lines[-(room - 1) :]]
        return Group(*lines)


class LiveVertex(Vertex):
    """A vertex as a line with its time, and the last lines of its command below it."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._began = 0.0
        self._took: float | None = None
        self._state = ""
        self._said = ""

    @property
    def ended(self) -> bool:
        return self._took is not None

    def begin(self) -> None:
        self._began = time.monotonic()

    def say(self, line: str) -> None:
        self._said = line

    def done(self) -> None:
        self._end("")

    def cached(self) -> None:
        self._end("CACHED ")

    def failed(self, message: str) -> None:
        self._end("ERROR ")

    def cancelled(self) -> None:
        self._end("CANCELED ")

    def _end(self, state: str) -> None:
        self._state = state
        self._took = time.monotonic() - self._began if self._began else 0.0

    def lines(self, width: int) -> list[Text]:
        """Return the lines to show now."""
        if not self._began and not self.ended:
            return []
        seconds = self._took if self._took is not None else time.monotonic() - self._began
        style = {"": "blue" if self.ended else "", "ERROR ": "red", "CACHED ": "blue"}
        clock = f"{seconds:.1f}s"
        name = _fitting(f" => {self._state}{self.name}", width - len(clock) - 1)
        gap = " " * (width - len(name) - len(clock))
        shown = [Text(f"{name}{gap}{clock}", style=style.get(self._state, "yellow"))]
        if self.ended:  # the output of a failed step is printed afterwards
            return shown
        said = bytes(self.output).decode(errors="replace").replace("\r", "\n").split("\n")
        last = [line for line in said if line.strip()][-_LINES:] or [self._said] * bool(self._said)
        return shown + [Text(_fitting(f" => => {line}", width), style="dim") for line in last]


def _fitting(line: str, width: int) -> str:
    """Return a printable line, cut at the width of the terminal."""
    clean = "".join(c if c.isprintable() else " " for c in line.expandtabs())
    return clean if len(clean) <= width else clean[: max(width - 1, 0)] + "…"
