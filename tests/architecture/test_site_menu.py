"""mkdocs.yml: the site's menu has each page of docs/, and nothing else.

`make site` says the same, and more, where mkdocs is installed (tests/unit/test_site.py).
"""

from __future__ import annotations

import re

from support.command import REPOSITORY

CONFIG = (REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8")
MENU = CONFIG.partition("\nnav:\n")[2].partition("\n\n")[0]

# Pages that the hook docs/site/pages.py makes: README.md, and the list of the packages.
GENERATED = {"index.md", "code/index.md"}


def test_the_menu_has_each_page_once() -> None:
    listed = re.findall(r"[\w./-]+\.md\b", MENU)
    docs = REPOSITORY / "docs"
    pages = {str(path.relative_to(docs)) for path in docs.rglob("*.md")}
    reached_from_their_list = {page for page in pages if re.match(r"decisions/\d", page)}
    assert sorted(listed) == sorted((pages - reached_from_their_list) | GENERATED)


def test_each_decision_is_in_their_list() -> None:
    folder = REPOSITORY / "docs/decisions"
    listed = set(re.findall(r"\]\((\d[\w-]+\.md)\)", (folder / "README.md").read_text("utf-8")))
    assert listed == {path.name for path in folder.glob("[0-9]*.md")}


def test_the_theme_brings_all_that_its_pages_load() -> None:
    assert "name: readthedocs" in CONFIG
    assert "highlightjs: false" in CONFIG, "the theme would load it from a content delivery network"
