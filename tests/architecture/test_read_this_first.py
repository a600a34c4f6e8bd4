"""docs/read-this-first.md: its eleven files exist, are short, and are about containers only.

The eleven files hold the way from `run` to the command, and nothing that only a product needs: that
stands in modules beside them, which the page names.
"""

from __future__ import annotations

import re

import pytest

from support.command import REPOSITORY

PAGE = REPOSITORY / "docs/read-this-first.md"
ROW = re.compile(
    r"^\| (\d+) \| \[([\w/.]+)\]\(\.\./src/minidock/([\w/.]+)\) \| (\d+) \| .+ \|$", re.M
)
ROWS = ROW.findall(PAGE.read_text(encoding="utf-8"))
FILES = [path for _, _, path, _ in ROWS]

MOST_LINES = 2500
ROUNDING = 15  # the page gives a file's lines in tens, and need not follow each change

# What a product needs beside isolation, and the pattern of it.
NOISE = {
    "cgroup v1": r"hierarch|cgroup.?v1",
    "--without": r"--without|without_annotation|minidock\.without|disabled_isolation",
    "quotas of the store": r"quota|storage.?opt",
    "keyrings": r"keyring|keyctl",
    "descriptors passed on": r"preserve",
}


def _lines(path: str) -> list[str]:
    return (REPOSITORY / "src/minidock" / path).read_text(encoding="utf-8").splitlines()


def noise_in(lines: list[str]) -> list[str]:
    """The lines that have one of the patterns, with the subject of it."""
    return [
        f"{number}: {subject}: {line.strip()}"
        for number, line in enumerate(lines, 1)
        for subject, pattern in NOISE.items()
        if re.search(pattern, line, re.IGNORECASE)
    ]


def test_the_page_lists_eleven_files_in_order() -> None:
    assert [int(number) for number, *_ in ROWS] == list(range(1, 12))
    assert all(shown == path for _, shown, path, _ in ROWS), "a link's text is the file it leads to"
    assert len(set(FILES)) == len(FILES)


@pytest.mark.parametrize(("path", "said"), [(path, int(said)) for _, _, path, said in ROWS])
def test_a_file_is_as_long_as_the_page_says(path: str, said: int) -> None:
    assert abs(len(_lines(path)) - said) <= ROUNDING


def test_all_of_it_can_be_read_in_an_evening() -> None:
    total = sum(len(_lines(path)) for path in FILES)
    assert total <= MOST_LINES
    said = re.search(r"about ([\d,]+) lines", PAGE.read_text(encoding="utf-8"))
    assert said, "the page does not say how long the whole is"
    assert abs(total - int(said[1].replace(",", ""))) <= 60


@pytest.mark.parametrize("path", FILES)
def test_a_file_to_read_first_has_only_what_makes_a_container(path: str) -> None:
    assert noise_in(_lines(path)) == []


@pytest.mark.parametrize(
    "line",
    [
        "hierarchies: visible cgroup v1 hierarchies.",
        '_WITHOUT = "minidock.without"',
        'if container.host_config.get("StorageOpt"):',
        "steps.append(Step(join_session_keyring, context.keyring))",
        "preserved_fds: int = 0,",
    ],
)
def test_what_only_a_product_needs_is_found(line: str) -> None:
    assert noise_in([line])


def test_the_page_is_linked_where_a_reader_begins() -> None:
    for page in ("README.md", "CONTRIBUTING.md", "docs/architecture.md"):
        assert "read-this-first.md)" in (REPOSITORY / page).read_text(encoding="utf-8"), page
