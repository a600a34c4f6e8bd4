"""Numbers in the docs: a page that shows what a command printed says that these are an example.

Ids, times, addresses and counts of processes, operations or files are those of one run on one
machine: tests that type a page's commands mask them (support/pages.py), so they may be any. A
number in a sentence, that was measured, says so in the same paragraph. Decisions are of a day, and
stay.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from support.command import REPOSITORY

DOCS = REPOSITORY / "docs"
PAGES = [REPOSITORY / "README.md", *sorted(DOCS.glob("*.md")), *sorted(DOCS.glob("how-*/*.md"))]
SHOWN = re.compile(r"```console\n(.*?)```", re.DOTALL)
MEASURED = re.compile(r"\b\d+(?:[.,]\d+)*\s(?:µs|ms|MB|GB|operations|processes|probes|calls)\b")
SAID = re.compile(
    r"\bexample|\bmeasure|\btook\b|\blimit|\bat most\b|\bup to\b|\babout \d", re.IGNORECASE
)


def _prints_numbers(block: str) -> bool:
    printed = [line for line in block.splitlines() if not line.startswith(("$ ", "> ", "# "))]
    return any(character.isdigit() for line in printed for character in line)


def unsaid(text: str) -> list[str]:
    """What a page shows, or measures, without a word that it is of one machine."""
    found = []
    for block in SHOWN.finditer(text):
        before = re.sub(r"(?s)```.*?```", "", text[: block.start()])
        if _prints_numbers(block[1]) and not re.search(r"\bexample", before, re.IGNORECASE):
            found.append(block[1].splitlines()[0])
    prose = re.sub(r"(?s)```.*?```|(?m:^    .*$)", "", text)
    for paragraph in re.split(r"\n\s*\n", prose):
        if not SAID.search(paragraph):
            found += MEASURED.findall(paragraph)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_a_page_says_that_its_numbers_are_an_example(page: Path) -> None:
    assert unsaid(page.read_text(encoding="utf-8")) == []


def test_a_number_without_a_word_is_found() -> None:
    shown = "Look:\n\n```console\n$ minidock ps\n17 processes\n```\n"
    assert unsaid(shown) == ["$ minidock ps"]
    assert unsaid(f"For example:\n\n{shown}") == []
    assert unsaid("A run takes 12 ms.\n\nIt was measured.\n") == ["12 ms"]
    assert unsaid("A run takes 12 ms, for\nexample.\n") == []
