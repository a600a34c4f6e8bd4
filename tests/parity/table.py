#!/usr/bin/env python3
"""docs/parity.md's table: every case by docker, minidock and podman; is the answer docker's?

    sudo python tests/parity/table.py              all cases, in ten minutes or more
    sudo python tests/parity/table.py run lists    these files' cases; of the others the page stays

What stands above the table in docs/parity.md is written by hand and stays. Exit code 1 where
minidock answers otherwise than the cases say.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
sys.path[:0] = [str(REPOSITORY / "src"), str(REPOSITORY / "tests"), str(REPOSITORY / "benchmarks")]

from lab import Lab  # noqa: E402

from support import docker_daemon  # noqa: E402
from support.command import Minidock  # noqa: E402
from support.parity import (  # noqa: E402
    Engine,
    Outcome,
    Snippet,
    engine_of_docker,
    engine_of_minidock,
    give_image,
    side_by_side,
    snippets,
)

PAGE = REPOSITORY / "docs/parity.md"
MARK = "<!-- from here on written by tests/parity/table.py -->"

# file -> case -> (is minidock's answer docker's? is podman's?)
Verdicts = dict[str, dict[str, tuple[bool, bool]]]


class Engines:
    """The three of them in a laboratory, with the same image; no case leaves anything behind."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self.minidock = Minidock(lab.store.root)
        self._daemons = {
            False: docker_daemon.ensure(lab.home, "plain"),
            True: docker_daemon.ensure(lab.home, "networked"),
        }
        for number, daemon in enumerate(self._daemons.values()):
            place = lab.home / f"image{number}"
            place.mkdir()
            give_image(daemon, self.minidock, "busybox:latest", place)
        self.podman("rmi", "-a", "-f")
        self.podman("load", "-i", str(next(lab.home.glob("image*/image.tar"))))

    def podman(self, *arguments: str) -> str:
        """Run podman, however it ends."""
        done = subprocess.run(
            [*self._lab.podman, *arguments], capture_output=True, text=True, check=False
        )
        return done.stdout

    def outcomes(self, snippet: Snippet, place: Path) -> tuple[Outcome, Outcome, Outcome]:
        """docker's, minidock's and podman's; podman comes last, with docker's subnets."""
        docker, name = self._daemons[snippet.networked], f"parity-{os.getpid()}"
        engines = (engine_of_docker(docker), engine_of_minidock(self.minidock))
        theirs, ours = side_by_side(snippet.text, name, engines, place)
        podman = Engine("podman", self._lab.podman, docker.environment, "18973", seconds=60)
        self._empty(lambda *words: docker(*words).stdout.decode())
        self._empty(lambda *words: self.minidock(*words).stdout)
        (podmans,) = side_by_side(snippet.text, name, (podman,), place)
        self._empty(self.podman)
        return theirs, ours, podmans

    @staticmethod
    def _empty(run: Callable[..., str]) -> None:
        """Remove all that an engine has, but for busybox; run: its command line."""
        for kind in ("container", "network", "volume"):
            format = "{{.ID}}" if kind == "container" else "{{.Name}}"
            every = ("-a",) if kind == "container" else ()
            if names := run(kind, "ls", *every, "--format", format).split():
                run(kind, "rm", "-f", *names)
        listed = run("images", "-a", "--format", "{{.Repository}} {{.ID}}").splitlines()
        if others := [x.split()[1] for x in listed if not re.match(r"(\S*/)?busybox ", x)]:
            run("rmi", "-f", *others)


def compare(engines: Engines, snippet: Snippet, place: Path, verdicts: Verdicts) -> bool:
    """Run one snippet with all; returns whether minidock answers as the cases say."""
    place.mkdir()
    outcomes = engines.outcomes(snippet, place)
    docker, ours, podman = (outcome.of_cases(snippet.titles) for outcome in outcomes)
    fine = True
    for title in snippet.titles:
        want, got = docker.get(title), ours.get(title)
        cases = verdicts.setdefault(snippet.name.partition(":")[0], {})
        cases[title] = (got == want, podman.get(title) == want)
        if (got == want) == (title in snippet.differs):
            fine = False
            print(f"## {snippet.name}: {title}\n{got}\n--- docker:\n{want}")
    return fine


def table(verdicts: Verdicts, all_snippets: list[Snippet]) -> str:
    """The page's lower part."""
    all_cases = [verdict for cases in verdicts.values() for verdict in cases.values()]
    ours, podmans = (sum(verdict[i] for verdict in all_cases) for i in (0, 1))
    lines = [MARK, ""]
    lines += [
        f"Of {len(all_cases)} cases, minidock answers {ours} as docker does, podman {podmans}."
    ]
    lines += ["", "## Cases that are meant to differ", ""]
    for snippet in all_snippets:
        file = snippet.name.partition(":")[0]
        lines += [f"- **{file}: {title}**: {why}." for title, why in snippet.differs.items()]
    lines += ["", "## All cases", ""]
    for file, cases in verdicts.items():
        about = (HERE / f"{file}.sh").read_text().partition("\n")[0].removeprefix("# ")
        lines += [f"### {file}.sh", "", about, "", "| case | minidock | podman |", "|---|---|---|"]
        for title, verdict in cases.items():  # no title has a "|"
            mine, podmans_own = ("same" if same else "**differs**" for same in verdict)
            lines.append(f"| {title} | {mine} | {podmans_own} |")
        lines.append("")
    return "\n".join(lines)


def known(page: str, every: list[Snippet]) -> Verdicts:
    """What the page says of the cases that there still are, in the order of the files."""
    said: dict[tuple[str, str], tuple[bool, bool]] = {}
    for section in page.partition(MARK)[2].split("\n### ")[1:]:
        file = section.partition(".sh\n")[0]
        for title, ours, podmans in re.findall(r"^\| (.+) \| (\S+) \| (\S+) \|$", section, re.M):
            said[file, title] = (ours == "same", podmans == "same")
    verdicts: Verdicts = {}
    for snippet in every:
        file = snippet.name.partition(":")[0]
        there = {t: said[file, t] for t in snippet.titles if (file, t) in said}
        verdicts.setdefault(file, {}).update(there)
    return verdicts


def main() -> int:
    wanted = sys.argv[1:]
    every = list(snippets(HERE))
    page = PAGE.read_text()
    verdicts = known(page, every)
    fine = True
    with Lab() as lab:
        engines = Engines(lab)
        for number, snippet in enumerate(every):
            if not wanted or snippet.name.partition(":")[0] in wanted:
                print(snippet.name, file=sys.stderr)
                fine &= compare(engines, snippet, lab.home / f"case{number}", verdicts)
    PAGE.write_text(page.partition(MARK)[0] + table(verdicts, every))
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
