"""What README, the docs and the labs tell people to type exists, and what they link to is there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from minidock.cli.commands import COMMANDS
from support.command import REPOSITORY

PAGES = [*(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"))]
PAGES += sorted((REPOSITORY / "docs").rglob("*.md"))
PAGES += sorted((REPOSITORY / "images").rglob("*.md"))

# What labs tell to start as ./NAME, the student writes.
LABS = sorted((REPOSITORY / "labs").rglob("*.md"))

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(REPOSITORY)))
with_labs = pytest.mark.parametrize(
    "page", [*PAGES, *LABS], ids=lambda p: str(p.relative_to(REPOSITORY))
)


def _typed(page: Path) -> Iterator[str]:
    """Lines of code blocks that are commands: in sh blocks all, in console blocks behind "$ "."""
    for kind, block in re.findall(r"```(\w+)\n(.*?)```", page.read_text(), re.DOTALL):
        for line in block.splitlines():
            if kind == "sh":
                yield line
            elif kind == "console" and line.startswith(("$ ", "# ")):
                yield line[2:]


@with_labs
def test_commands_of_minidock_exist(page: Path) -> None:
    for line in _typed(page):
        for command in re.findall(r"(?:^|[;&|(]\s*|sudo )minidock ([a-z]+)", line):
            assert command in COMMANDS, line


@each_page
def test_targets_of_make_exist(page: Path) -> None:
    targets = re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
    for line in _typed(page):
        for target in re.findall(r"(?:^|[;&]\s*)make ([a-z-]+)", line):
            assert target in targets, line


@each_page
def test_scripts_exist_and_can_be_executed(page: Path) -> None:
    for line in _typed(page):
        for script in re.findall(r"(?:^|[;&]\s*|sudo )\./([\w./-]+)", line):
            assert (REPOSITORY / script).stat().st_mode & 0o111, line


@with_labs
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_the_pages_tell_all_of_these() -> None:
    """Each test above looks for something, and would pass if it were written differently."""
    typed = [line for page in PAGES for line in _typed(page)]
    for beginning in ("minidock ", "make ", "./"):
        assert len([line for line in typed if line.startswith(beginning)]) > 1, beginning


def test_pre_commit_calls_what_lint_calls() -> None:
    hooks = (REPOSITORY / ".pre-commit-config.yaml").read_text()
    called = re.findall(r"entry: (.+)", hooks)
    recipe = re.search(r"^lint: .*\n((?:\t.*\n)+)", (REPOSITORY / "Makefile").read_text(), re.M)
    assert recipe
    lines = [
        line.strip().replace("$(BIN)", ".venv/bin").replace("@$(MAKE) --no-print-directory", "make")
        for line in recipe[1].splitlines()
    ]
    assert called == lines


def test_ci_runs_the_second_command() -> None:
    readme = (REPOSITORY / "README.md").read_text()
    assert "&& make test\n" in readme
    assert "make test" in (REPOSITORY / ".ci/run").read_text().splitlines()
