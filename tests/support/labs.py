"""The labs, their mutants, and exams held in this process."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

from minidock.teach.lab import folder, rubric
from minidock.teach.lab.check import Result, run_exam
from minidock.teach.lab.folder import Lab
from minidock.teach.lab.submission_files import Files

LABS = folder.list_labs()


@dataclass(frozen=True)
class Mutant:
    """A seeded defect: in `file` of the composed solution, `find` (there once) becomes `put`."""

    lab: Lab
    name: str
    file: str
    find: str
    put: str
    loses: tuple[str, ...]

    @property
    def id(self) -> str:
        """Its name among all labs' mutants."""
        return f"{self.lab.name}-{self.name}"

    def files(self) -> Files:
        """The solution with this defect."""
        files = self.lab.solution()
        text = files.text(self.file)
        count = text.count(self.find)
        assert count == 1, f"{self.name}: {self.file} has {count} times {self.find!r}"
        files.put(self.file, text.replace(self.find, self.put).encode(), files.mode(self.file))
        return files


def mutants(lab: Lab) -> list[Mutant]:
    """A lab's mutants.toml; none where there is no such file yet."""
    path = Path(lab.folder, "mutants.toml")
    if not path.exists():
        return []
    entries = tomllib.loads(path.read_text(encoding="utf-8"))["mutant"]
    return [Mutant(lab, **{**entry, "loses": tuple(entry["loses"])}) for entry in entries]


def examined(lab: Lab, files: Files) -> list[Result]:
    """All items of a lab's exam, on these files."""
    return run_exam(lab, rubric.read(lab.folder), files)


def points(results: list[Result]) -> int:
    """What they bring in all."""
    return sum(result.points for result in results)


def lost(results: list[Result]) -> dict[str, str]:
    """The items that are lost, and what was seen."""
    return {result.item.name: result.seen for result in results if not result.passed}


def what_is_lost(mutant: Mutant) -> dict[str, str]:
    """The items that a mutant loses, and what was seen."""
    return lost(examined(mutant.lab, mutant.files()))


def in_comments(files: Files) -> Files:
    """A program `box` that has all the words of a solution, and does nothing."""
    lines = ["#!/usr/bin/env python3"]
    for name in files.names():
        lines += [f"# {line}" for line in files.text(name).splitlines()]
    only = Files()
    only.put("box", "\n".join(lines).encode(), files.mode("box"))
    return only
