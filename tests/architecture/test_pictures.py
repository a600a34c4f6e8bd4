"""The pictures of the docs: each is a scene of `make screenshots`, is shown and is described."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from support.command import REPOSITORY
from support.look_scenes import SCENES

DOCS = REPOSITORY / "docs"
SHOWN = re.compile(r"!\[([^\]]*)\]\(([^)]+)\)")
PAGES = [REPOSITORY / "README.md", *sorted(DOCS.rglob("*.md"))]


def shown(page: Path) -> dict[Path, str]:
    """The pictures of a page: the file, and the text for those who do not see it."""
    found = SHOWN.findall(page.read_text(encoding="utf-8"))
    return {(page.parent / target).resolve(): text for text, target in found}


def test_the_docs_show_all_scenes_and_no_other_picture() -> None:
    pictures = {DOCS / f"{scene.name}.png" for scene in SCENES}
    assert {path for path in shown(DOCS / "look.md") if path.suffix == ".png"} == pictures
    assert set(DOCS.rglob("*.png")) == pictures
    assert DOCS / "look.png" in shown(REPOSITORY / "README.md")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_a_picture_exists_and_is_described(page: Path) -> None:
    for path, text in shown(page).items():
        assert path.is_file(), path
        assert len(text) > 30, f"{path.name} needs a text for those who do not see it"


def test_the_pictures_are_small() -> None:
    sizes = {path.name: path.stat().st_size for path in DOCS.rglob("*.png")}
    assert {name: size for name, size in sizes.items() if size >= 150_000} == {}
    assert 0 < sum(sizes.values()) < 1_000_000
    for name in sizes:
        header = (DOCS / name).read_bytes()[16:24]  # the first chunk: width, height
        assert int.from_bytes(header[:4]) <= 1600 and int.from_bytes(header[4:]) <= 900, name
