"""What the bench measured, and its table."""

from __future__ import annotations

import statistics
from pathlib import Path

BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"


class Measured:
    """One command's numbers: rounds of runs, in seconds (or another unit)."""

    def __init__(self, rounds: list[list[float]], unit: str = "s") -> None:
        self.rounds = rounds
        self.unit = unit
        every = [value for values in rounds for value in values]
        self.median = statistics.median(every)
        self.minimum = min(every)

    @property
    def noise(self) -> float:
        """How far the rounds' medians lie apart, as a share of the median of all."""
        medians = [statistics.median(values) for values in self.rounds]
        return (max(medians) - min(medians)) / self.median

    def text(self) -> str:
        """Median and minimum, for people."""
        if self.unit != "s":
            return f"{self.median:.1f} {self.unit}"
        return f"{self.median * 1000:.0f} ms (min {self.minimum * 1000:.0f})"


class Case:
    """One line of the table.

    limits: for each other engine, the ratio that must be met, and the one that is aimed at.
    at_most: the most that minidock's own median may be, in its unit.
    """

    def __init__(
        self,
        title: str,
        measured: dict[str, Measured],
        limits: dict[str, tuple[float, float]],
        *,
        at_most: float | None = None,
    ) -> None:
        self.title = title
        self.measured = measured
        self.limits = limits
        self.at_most = at_most

    def ratio(self, other: str) -> float:
        """minidock's median over another engine's."""
        return self.measured["minidock"].median / self.measured[other].median

    def within_limits(self) -> bool:
        """Whether every limit of this case is met."""
        met = all(self.ratio(other) <= limit for other, (limit, _) in self.limits.items())
        return met and (self.at_most is None or self.measured["minidock"].median <= self.at_most)

    def as_json(self) -> dict[str, object]:
        """Everything measured, for machines."""
        return {
            "title": self.title,
            "rounds": {name: m.rounds for name, m in self.measured.items()},
            "ratios": {name: self.ratio(name) for name in self.measured if name != "minidock"},
            "limits": self.limits,
            "within_limits": self.within_limits(),
        }

    def row(self) -> str:
        """This case as a row of the table."""
        others = [name for name in self.measured if name != "minidock"]
        times = ", ".join(f"{name} {self.measured[name].text()}" for name in others)
        ratios = ", ".join(f"**{self.ratio(name):.2f}** of {name}" for name in others)
        limits = [f"≤ {limit:.2f} of {name}" for name, (limit, _) in self.limits.items()]
        if self.at_most is not None:
            mine = self.measured["minidock"]
            limits.append(f"≤ {self.at_most:g} {mine.unit}")
        noise = max(m.noise for m in self.measured.values())
        cells = [
            f"`{self.title}`" if self.title.startswith(("run", "exec", "ps")) else self.title,
            self.measured["minidock"].text(),
            times or "–",
            ratios or "–",
            "; ".join(limits) or "–",
            f"{noise:.0%}" if len(self.measured["minidock"].rounds) > 1 else "–",
        ]
        return "| " + " | ".join(cells) + " |"


def table(cases: list[Case], facts: dict[str, str]) -> str:
    """The table in Markdown, with what it was measured on."""
    head = "| work | minidock | the others | ratio | limit | noise |\n|---|---|---|---|---|---|"
    rows = "\n".join(case.row() for case in cases)
    where = (
        f"Median (and minimum) of runs taken in turns on {facts['cores']} cores, "
        f"{facts['system']}, {facts['python']}; {facts['docker'].split(',')[0]}, "
        f"{facts['podman']}, {facts['runc']}. Noise: how far one command's rounds lay apart, "
        "at worst, so a ratio is good to about that much."
    )
    return f"{head}\n{rows}\n\n{where}\n"


def write_readme(readme: Path, text: str) -> None:
    """Put the table between README's two markers."""
    whole = readme.read_text()
    before, _, rest = whole.partition(BEGIN)
    _, _, after = rest.partition(END)
    if not rest:
        raise RuntimeError(f"{readme} has no line {BEGIN}")
    readme.write_text(f"{before}{BEGIN}\n{text}{END}{after}")
