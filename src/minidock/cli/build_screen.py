"""What `build` shows while it works: plain lines, a live view on a terminal, or nothing.

    #5 [2/4] RUN make            plain: BuildKit's lines, for pipes and logs
    #5 0.312 cc -o hello
    #5 DONE 1.4s

Of steps that go on at the same time one is shown and the others' lines wait: until it ends, or for
some seconds; then "#5 ..." says that its turn is over. All of it goes to stderr.
"""

from __future__ import annotations

import os
import sys
import time
from _thread import allocate_lock  # threading itself is for builds of several stages

from minidock.engine.build.progress import Progress, Vertex

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.engine.build.failure import BuildFailed

_OUTPUT_LINES = 20
_TURN_SECONDS = 5.0
_RULE = "-" * 20


def screen(kind: str) -> Screen:
    """The screen of --progress: auto, plain, tty or quiet."""
    if kind == "quiet":
        return Screen()
    if kind == "tty" or (kind == "auto" and os.isatty(2)):
        from minidock.cli.build_live import Live  # rich: only terminals pay for it

        return Live()
    return Plain()


class Screen(Progress):
    """Shows nothing: -q."""

    def __enter__(self) -> Screen:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class Plain(Screen):
    """BuildKit's plain lines: those of one step together, as far as nobody waits too long."""

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._count = 0
        self._current: PlainVertex | None = None  # whose lines are printed; others' wait
        self._since = 0.0
        self._waiting: list[PlainVertex] = []

    def vertex(self, name: str) -> PlainVertex:
        return PlainVertex(self, name)

    def close(self) -> None:
        with self._lock:
            while self._waiting:
                self._turn_to(self._waiting[0])
            self._current = None

    def lines(self, vertex: PlainVertex, lines: list[str], *, ends: bool = False) -> None:
        """Print lines of a vertex, or have them wait for their turn."""
        with self._lock:
            vertex.waiting += lines
            vertex.has_ended = ends
            if vertex not in self._waiting:
                self._waiting.append(vertex)
            patient = time.monotonic() - self._since < _TURN_SECONDS
            if self._current not in (None, vertex) and patient:
                return
            self._turn_to(vertex)
            while self._current is None and self._waiting:
                self._turn_to(self._waiting[0])

    def _turn_to(self, vertex: PlainVertex) -> None:
        """Print what a vertex has to say, with its number; its name, where it was not the last."""
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


def show_failure(error: BuildFailed) -> None:
    """What the failed step said, and the Dockerfile's lines that asked for it; also with -q."""
    out: list[str] = []
    if error.step:
        said = error.output.decode(errors="replace").splitlines()
        out += ["------", f" > {error.step}:", *said[-_OUTPUT_LINES:], "------"]
    first, last = error.lines
    if first:
        out += _caret_block(error.name, error.dockerfile, first, last)
    if out:
        print("\n".join(out), file=sys.stderr)


def _caret_block(name: str, lines: list[str], first: int, last: int) -> list[str]:
    """The instruction's lines, with some around them, and ">>>" before each of its own."""
    begin, end = _with_surroundings(first, min(last, len(lines)), len(lines))
    block = [f"{name}:{first}", _RULE]
    for number in range(begin, end + 1):
        mark = ">>>" if first <= number <= last else "   "
        block.append(f"{number:4d} | {mark} {lines[number - 1]}".rstrip())
    return [*block, _RULE]


def _with_surroundings(first: int, last: int, count: int) -> tuple[int, int]:
    """As BuildKit does it: two lines around a single one, else one; more on one side at an end."""
    wanted = 4 if first == last else 2
    taken = 0
    while taken < wanted:
        if first > 1:
            first, taken = first - 1, taken + 1
        if last < count:
            last, taken = last + 1, taken + 1
        taken += 1
    return first, last
