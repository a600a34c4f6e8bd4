"""The decisions have one format, and their list is in order and complete."""

from __future__ import annotations

import re

from support.command import REPOSITORY

DECISIONS = REPOSITORY / "docs/decisions"


def test_each_begins_with_its_number_and_title() -> None:
    files = sorted(DECISIONS.glob("[0-9]*.md"))
    assert len(files) > 20
    for path in files:
        title = path.read_text(encoding="utf-8").partition("\n")[0]
        assert re.fullmatch(rf"# {int(path.name[:4])}\. [A-Z`].*", title), path.name


def test_the_list_is_in_order_and_complete() -> None:
    text = (DECISIONS / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^- \[(\d{4})\]\(([^)]+)\)", text, re.MULTILINE)
    assert [name for _, name in listed] == sorted(path.name for path in DECISIONS.glob("[0-9]*.md"))
    assert all(name.startswith(f"{number}-") for number, name in listed)
