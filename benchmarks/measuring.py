"""Timing the same work of several engines in turn, by hyperfine.

The engines take turns: each of ROUNDS rounds measures every engine once, so that a slow minute of
the machine hits all of them.
"""

from __future__ import annotations

import json
import shlex
import sys

from lab import Lab
from report import Measured

ROUNDS = 5
RUNS = 5


def measure(
    lab: Lab,
    title: str,
    commands: dict[str, list[str]],
    prepare: dict[str, str],
    *,
    runs: int = RUNS,
) -> dict[str, Measured]:
    """Time commands in turn; prepare: what to do before each run of a command, untimed."""
    rounds: dict[str, list[list[float]]] = {name: [] for name in commands}
    for number in range(ROUNDS):
        for name, command in commands.items():
            print(f"\r{title}: round {number + 1}/{ROUNDS} {name:12}", end="", file=sys.stderr)
            rounds[name].append(_hyperfine(lab, command, prepare.get(name), runs, number == 0))
    print(file=sys.stderr)
    return {name: Measured(times) for name, times in rounds.items()}


def _hyperfine(
    lab: Lab, command: list[str], prepare: str | None, runs: int, first: bool
) -> list[float]:
    answer = lab.home / "hyperfine.json"
    options = ["--prepare", prepare] if prepare else []
    warm_up = ["--warmup", "2" if first else "1"] if not prepare else []
    lab.output(
        *("hyperfine", "--shell=none", "--style=none", "--runs", str(runs)),
        *warm_up,
        *options,
        *("--export-json", str(answer), shlex.join(command)),
    )
    times: list[float] = json.loads(answer.read_text())["results"][0]["times"]
    return times
