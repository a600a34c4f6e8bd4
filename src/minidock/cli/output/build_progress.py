"""Progress displays of a build: nothing, or plain lines. build_live.py has the one for terminals.

    #5 [2/4] RUN make            plain: BuildKit's lines, for pipes and logs
    #5 0.312 cc -o hello
    #5 DONE 1.4s

Of parallel steps, one is shown and the lines of the others are buffered, until it ends or for a few
seconds; "#5 ..." then marks the switch. All output goes to stderr.
"""

from __future__ import annotations

import sys
import time
from _thread import allocate_lock  # threading itself is for builds of several stages

from minidock.engine.build.progress import Progress, Vertex

_TURN_SECONDS = 5.0


class Screen(Progress):
    """Shows nothing: -q."""

    def __enter__(self) -> Screen:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class Plain(Screen):
    """BuildKit's plain lines, grouped by step; no step is buffered for too long."""

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._count = 0
        self._current: PlainVertex | None = None  # whose lines are printed
        self._since = 0.0
        self._waiting: list[PlainVertex] = []

    def vertex(self, name: str) -> PlainVertex:
        return PlainVertex(self, name)

    def close(self) -> None:
        with self._lock:
            while self._waiting:
                self._switch_to(self._waiting[0])
            self._current = None

    def lines(self, vertex: PlainVertex, lines: list[str], *, ends: bool = False) -> None:
        """Print lines of a vertex, or buffer them."""
        with self._lock:
            vertex.waiting += lines
            vertex.has_ended = ends
            if vertex not in self._waiting:
                self._waiting.append(vertex)
            patient = time.monotonic() - self._since < _TURN_SECONDS
            if self._current not in (None, vertex) and patient:
                return
            self._switch_to(vertex)
            while self._current is None and self._waiting:
                self._switch_to(self._waiting[0])

    def _switch_to(self, vertex: PlainVertex) -> None:
        """Print the buffered lines of a vertex, with its number; with its name after a switch."""
        out = []
        if self._current is not vertex:
            out += [f"#{self._current.number} ...", ""] if self._current is not None else []
            if not vertex.number:
                self._count += 1
                vertex.number = self._count
            out.append(f"#{vertex.number} {vertex.name}")
            self._current, self._since = vertex, time.monotonic()
        out += [f"#{vertex.number} {line}" for line in vertex.waiting]
        vertex.waiting = []
        self._waiting.remove(vertex)
        if vertex.has_ended:
            out.append("")
            self._current = None
        print("\n".join(out), file=sys.stderr, flush=True)


class PlainVertex(Vertex):
    """A vertex as plain lines."""

    def __init__(self, screen: Plain, name: str) -> None:
        super().__init__(name)
        self._screen = screen
        self._began = time.monotonic()
        self._rest = b""
        self.number = 0
        self.waiting: list[str] = []
        self.has_ended = False

    def begin(self) -> None:
        self._began = time.monotonic()
        self._screen.lines(self, [])

    def write(self, data: bytes) -> None:
        super().write(data)
        *whole, self._rest = (self._rest + data).split(b"\n")
        self._write_lines(whole)

    def _write_lines(self, lines: list[bytes]) -> None:
        if lines:
            seconds = f"{time.monotonic() - self._began:.3f}"
            shown = [line.decode(errors="replace").rstrip("\r") for line in lines]
            self._screen.lines(self, [f"{seconds} {line}" for line in shown])

    def _flush(self) -> None:
        if self._rest:
            rest, self._rest = self._rest, b""
            self._write_lines([rest])

    def say(self, line: str) -> None:
        self._screen.lines(self, [line])

    def done(self) -> None:
        self._flush()
        self._screen.lines(self, [f"DONE {time.monotonic() - self._began:.1f}s"], ends=True)

    def cached(self) -> None:
        self._screen.lines(self, ["CACHED"], ends=True)

    def failed(self, message: str) -> None:
        self._flush()
        self._screen.lines(self, [f"ERROR: {message}"], ends=True)

    def cancelled(self) -> None:
        self._flush()
        self._screen.lines(self, ["CANCELED"], ends=True)
