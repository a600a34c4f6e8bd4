"""Words that only this project uses, or that make a reader stop, must not return.

Each pattern has the words to write instead, and the number of lines of src/ that still have it. A
number may only sink: a change that rewrites such a line lowers it.
"""

from __future__ import annotations

import re

import pytest

from support.command import SOURCE

# pattern: (instead, lines of src/minidock that have it)
PATTERNS = {
    r"\brubbish\b|\bresidue\b": ("garbage, leftovers", 0),
    r"\bplug_in\b|\bunplug\b|\bfar_end\b|\blead_out\b|\bknow_as\b": ("attach, detach, peer", 0),
    r"\bcopy_up\.py\b|\bprestart\b|\bteller\b": ("tmpcopyup, start_monitor_early, events", 4),
    r"\bthat (is none|there (is|are))\b": ("leave it out, or name the thing", 1),
    r"\bfor want of\b|\band (the|their|its) like\b": ("without, and similar", 0),
    r"\bheld against\b|\bmend(s|ed)?\b": ("compared with, fix", 0),
    r"\b(bear|bears|bore|bury|birth)\b": ("clone, create, reap", 0),
    r"\bborn\b": ("created", 0),
    r"\bby hand\b": ("manually", 0),
    r"\bunma(k|d)e": ("undo, release, tear down", 0),
    r"(?<!there )\b(is|are) no (?!longer|such)": ("is not a", 0),
    r"\btold\b": ("printed, passed, recorded; or the noun", 0),
    # (Leases in networks/*.json have the key "Cable": a new name would lose those of older stores.)
    r"(?<!['\"])\bcables?\b(?!['\"])": ("veth, veth pair", 2),
    r"\bwho(m)?ever\b|\b(of|for|to|by|from|than|but) who\b": ("the process or user that", 0),
    r"\b(house|floors?)\b": ("package, layer", 0),
}

# Files that are still named by a participle; no more may come.
PARTICIPLES = {"damaged", "inherited", "mounted"}


def lines_with(pattern: str) -> list[str]:
    """Places of a pattern in the source, as file:line."""
    found = re.compile(pattern, re.IGNORECASE)
    return [
        f"{path.relative_to(SOURCE)}:{number}"
        for path in sorted((SOURCE / "minidock").rglob("*.py"))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if found.search(line)
    ]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_does_not_come_back(pattern: str) -> None:
    instead, most = PATTERNS[pattern]
    places = lines_with(pattern)
    assert len(places) <= most, f"write instead: {instead}; found at {places}"
    assert len(places) == most, f"{len(places)} are left: lower the number"


def test_no_further_file_is_named_by_a_participle() -> None:
    names = {path.stem for path in (SOURCE / "minidock").rglob("*.py")}
    assert {name for name in names if re.fullmatch(r"[a-z]+(ed|ught|ken)", name)} <= PARTICIPLES


def test_a_pattern_is_found() -> None:
    assert lines_with(r"^def pivot_root\b"), "the search finds nothing at all"
