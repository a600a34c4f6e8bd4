#!/usr/bin/env python3
"""The bench's history: one line of data for each complete run, and the time of `run` as a picture.

    benchmarks/history.jsonl     one JSON object a line, the oldest first
    docs/run-time.svg            drawn from it, by `make bench` or `python benchmarks/history.py`

    date      of the run, UTC: "2026-11-25"
    version   minidock's
    commit    the first twelve digits, with "-dirty" where files differ from it; "" without git
    machine   cores, operating system, kernel; the versions of Python, docker, podman and runc
    run_ms    the median of `run --rm busybox true` by engine, in milliseconds
    ratios    case -> engine -> minidock's median time over that engine's

Milliseconds belong to one machine on one day; a ratio is between commands that took turns on it, so
ratios of different machines can be compared.
"""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from xml.sax.saxutils import escape

sys.path.insert(0, str(Path(__file__).resolve().parent))
from report import Case

REPOSITORY = Path(__file__).resolve().parents[1]
HISTORY = REPOSITORY / "benchmarks/history.jsonl"
PICTURE = REPOSITORY / "docs/run-time.svg"
RUN = "run --rm busybox true"


def entry(cases: list[Case], facts: dict[str, str], *, version: str) -> dict[str, object]:
    """A line of the history.

    cases: of a complete run, with RUN among them. facts: bench.machine_facts().
    """
    (run,) = [case for case in cases if case.title == RUN]
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "version": version,
        "commit": commit(),
        "machine": machine(facts),
        "run_ms": {name: round(m.median * 1000) for name, m in run.measured.items()},
        "ratios": {
            case.title: {
                name: round(case.ratio(name), 2) for name in case.measured if name != "minidock"
            }
            for case in cases
            if len(case.measured) > 1 and case.measured["minidock"].unit == "s"
        },
    }


def machine(facts: dict[str, str]) -> str:
    """What it was measured on, in one line."""
    engines = f"{facts['docker'].split(',')[0]}, {facts['podman']}, {facts['runc']}"
    return f"{facts['cores']} cores, {facts['system']}, {facts['python']}; {engines}"


def commit() -> str:
    """The commit that is measured, or "" in a tree without git."""
    command = ["git", "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def append(path: Path, line: dict[str, object]) -> None:
    """Add a line to a history."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line, ensure_ascii=False) + "\n")


def read(path: Path) -> list[dict[str, object]]:
    """The lines of a history, the oldest first."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


# The picture: two panels above each other, with one column for each line of the history.

WIDTH, HEIGHT = 760, 470
LEFT, RIGHT = 70, 120  # margins; the right one has the names of the curves
PANELS = ((60, 180), (280, 130))  # top and height of each
COLOURS = {"minidock": "#1a7f37", "docker": "#0969da", "podman": "#8250df"}


def picture(lines: list[dict[str, object]]) -> str:
    """The history as SVG: milliseconds of `run` by engine, and minidock's ratio to each other."""
    times = [line["run_ms"] for line in lines]
    ratios = [line["ratios"][RUN] for line in lines]  # type: ignore[index]
    body = [
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        _text(LEFT, 24, f"{RUN}: the median of each complete run of make bench", size=15),
        *_panel(PANELS[0], "milliseconds, on that day's machine", times, COLOURS, "{:.0f}"),
        *_panel(PANELS[1], "minidock's time over another's", ratios, COLOURS, "{:.2f}"),
    ]
    below = PANELS[1][0] + PANELS[1][1] + 18
    for at, line in enumerate(lines):
        x = _x(at, len(lines))
        body.append(_text(x, below, str(line["date"]), anchor="middle"))
        body.append(_text(x, below + 15, str(line["version"]), anchor="middle"))
        body.append(_text(x, below + 30, str(line["commit"])[:8], anchor="middle"))
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" role="img">'
    )
    return "\n".join([head, f"<title>{escape(RUN)}, version by version</title>", *body, "</svg>\n"])


def _panel(
    place: tuple[int, int],
    title: str,
    columns: list[object],
    colours: dict[str, str],
    form: str,
) -> list[str]:
    """One panel: its title, a scale from 0, and a curve for each engine of the columns."""
    top, height = place
    values: list[dict[str, float]] = columns  # type: ignore[assignment]
    highest = max((value for column in values for value in column.values()), default=1)
    step = _step(highest)
    most = step * -(-highest // step)

    def y(value: float) -> float:
        return round(top + height * (1 - value / most), 1)

    parts = [_text(LEFT, top - 8, title, size=12)]
    for count in range(round(most / step) + 1):
        value = count * step
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value)}" y2="{y(value)}" '
            'stroke="#d0d7de"/>'
        )
        parts.append(_text(LEFT - 8, y(value) + 4, f"{value:g}", anchor="end"))
    ends: list[tuple[float, str, str]] = []
    for engine in sorted({name for column in values for name in column}):
        points = [
            (_x(at, len(values)), y(column[engine]), form.format(column[engine]))
            for at, column in enumerate(values)
            if engine in column
        ]
        parts += _curve(engine, points, colours[engine])
        ends.append((points[-1][1], f"{engine} {points[-1][2]}", colours[engine]))
    below = -1000.0
    for height, label, colour in sorted(ends):  # labels of close curves stand below each other
        below = max(height + 4, below + 13)
        parts.append(_text(WIDTH - RIGHT + 8, below, label, colour=colour))
    return parts


def _curve(engine: str, points: list[tuple[float, float, str]], colour: str) -> list[str]:
    """An engine's points, joined; a browser shows each one's value when it is pointed at."""
    path = " ".join(f"{x},{y}" for x, y, _ in points)
    parts = [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>']
    for x, y, value in points:
        label = f"<title>{escape(engine)} {value}</title>"
        parts.append(f'<circle cx="{x}" cy="{y}" r="4" fill="{colour}">{label}</circle>')
    return parts


def _x(at: int, count: int) -> float:
    """The middle of a column."""
    return round(LEFT + (WIDTH - LEFT - RIGHT) * (at + 0.5) / count, 1)


def _step(highest: float) -> float:
    """The distance of the scale's lines: 1, 2 or 5 of some power of ten, six lines at most."""
    power = 1e-3
    while True:
        for step in (power, 2 * power, 5 * power):
            if highest <= 5 * step:
                return step
        power *= 10


def _text(
    x: float, y: float, text: str, *, size: int = 11, anchor: str = "start", colour: str = "#1f2328"
) -> str:
    place = f'x="{x}" y="{y}" font-size="{size}" text-anchor="{anchor}" fill="{colour}"'
    return f"<text {place}>{escape(text)}</text>"


if __name__ == "__main__":
    PICTURE.write_text(picture(read(HISTORY)), encoding="utf-8")
