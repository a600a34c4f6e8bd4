"""SECURITY.md: each promise names tests, and they are there."""

from __future__ import annotations

import re

from support.command import REPOSITORY

PAGE = (REPOSITORY / "SECURITY.md").read_text()


def test_each_promise_names_tests_that_exist() -> None:
    table = PAGE.partition("## What is promised")[2].partition("\n## ")[0]
    promises = [row for row in table.splitlines() if row.startswith("|")][2:]
    promises = [row for row in promises if not re.fullmatch(r"\| \*\*.+\*\* \| \|", row)]
    assert len(promises) > 10
    for row in promises:
        files = re.split(r"\[(tests/\S+?\.py)\]\(\1\)", row)[1:]
        assert files, row
        for file, rest in zip(files[::2], files[1::2], strict=True):
            tests = re.findall(r"`(test_\w+)`", rest)
            text = (REPOSITORY / file).read_text()
            assert tests, f"{row}: which of {file}?"
            assert [name for name in tests if f"def {name}(" not in text] == []


def test_readme_leads_there() -> None:
    assert "](SECURITY.md)" in (REPOSITORY / "README.md").read_text()
