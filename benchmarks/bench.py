#!/usr/bin/env python3
"""The same work by minidock, docker and podman in one go: times, ratios, and the machine's noise.

    make bench                              everything (about six minutes); adds to the history
    python benchmarks/bench.py run exec     some cases: --help names all
    python benchmarks/bench.py --readme     also put the table into README.md

A case is a function that takes the laboratory (lab.py) and gives lines of the table (report.py).
Each module of cases has a table of its own, CASES, which joins the one here.

To be fair to all, the engines take turns (measuring.py). A ratio is between medians over all
rounds. The noise is the spread of the medians of one command's rounds. Results go to
benchmarks/results/. A run of all cases adds a line to the history, and draws its picture again
(history.py).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import build
import containers
import history
import images
import registry
from lab import REPOSITORY, Lab
from report import Case, table, write_readme

from minidock.cli.frame.version import VERSION

CASES: dict[str, Callable[[Lab], list[Case]]] = {
    **containers.CASES,
    **images.CASES,
    **registry.CASES,
    **build.CASES,
}


def machine_facts() -> dict[str, str]:
    """What the numbers were measured on."""

    def version(*command: str) -> str:
        return subprocess.run(command, capture_output=True, text=True).stdout.splitlines()[0]

    lines = Path("/etc/os-release").read_text().splitlines()
    release = dict(line.split("=", 1) for line in lines if "=" in line)
    name, kernel = release["PRETTY_NAME"].strip('"'), platform.release().split("-")[0]
    return {
        "system": f"{name}, Linux {kernel}",
        "cores": str(os.cpu_count()),
        "python": version("/usr/bin/python3", "--version"),
        "docker": version("docker", "--version"),
        "podman": version("podman", "--version"),
        "runc": version("runc", "--version"),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of: {' '.join(CASES)}")
    parser.add_argument("--readme", action="store_true", help="put the table into README.md")
    chosen = parser.parse_args()
    if unknown := set(chosen.cases) - set(CASES):
        parser.error(f"no such case: {' '.join(sorted(unknown))} (there are: {' '.join(CASES)})")
    if os.geteuid() != 0:
        parser.error("the bench needs root")

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the laboratory cleans up behind it
    cases: list[Case] = []
    facts = machine_facts()
    with Lab() as lab:
        for name in chosen.cases or CASES:
            cases += CASES[name](lab)
            print(table(cases[-1:], facts).splitlines()[2], file=sys.stderr)
    text = table(cases, facts)
    print(text)
    results = REPOSITORY / "benchmarks/results"
    results.mkdir(exist_ok=True)
    (results / "latest.md").write_text(text)
    raw = {"machine": facts, "cases": [case.as_json() for case in cases]}
    (results / "latest.json").write_text(json.dumps(raw, indent=1))
    if not chosen.cases:
        history.append(history.HISTORY, history.entry(cases, facts, version=VERSION))
        history.PICTURE.write_text(history.picture(history.read(history.HISTORY)))
    if chosen.readme:
        write_readme(REPOSITORY / "README.md", text)
    return 0 if all(case.within_limits() for case in cases) else 1


if __name__ == "__main__":
    sys.exit(main())
