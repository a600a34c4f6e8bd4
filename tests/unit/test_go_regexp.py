"""Go's regular expressions in the filters: minidock finds what `docker ps -f name=…` finds."""

from __future__ import annotations

import pytest

from minidock.cli.flags.filters import BadFilter, matches_regexp

NAMES = ("box", "box2", "9x_y")
FOUND = {
    r"\pL": NAMES,
    r"\p{^L}": ("box2", "9x_y"),
    r"\PL": ("box2", "9x_y"),
    r"^\pL+\pN$": ("box2",),
    r"[^\pL]": ("box2", "9x_y"),
    r"^[\pN_]": ("9x_y",),
    r"\pLo": ("box", "box2"),
    r"^[\p{Lu}]": (),
    r"\p{Latin}\d": ("box2",),
    r"[[:^digit:]]": NAMES,
    r"^[[:^digit:]]+$": ("box",),
    r"[^[:^digit:]]": ("box2", "9x_y"),
    r"[[:^nosuch:]b]": (),
    r"[\x{62}]": ("box", "box2"),
    r"(?U)b.*x": ("box", "box2"),
    r"(?-U)box": ("box", "box2"),
    r"(?i-U:BOX)": ("box", "box2"),
    r"b(?i)OX$|Y": ("box", "9x_y"),
    r"(b(?i)OX|9)X": (),
    r"(b(?i)OX|9)x": ("9x_y",),
    r"(b(?i)O)X": (),
    r"\pX": (),
    r"[\Q]": (),
}


@pytest.mark.parametrize("pattern", FOUND)
def test_a_pattern_finds_what_docker_finds(pattern: str) -> None:
    assert tuple(name for name in NAMES if matches_regexp(pattern, name)) == FOUND[pattern]


def test_what_is_not_supported_is_refused_by_its_name() -> None:
    with pytest.raises(BadFilter, match=r"\\p\{Greek\} is not supported"):
        matches_regexp(r"b[\p{Greek}o]x", "box")
