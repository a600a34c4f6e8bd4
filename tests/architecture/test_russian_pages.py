"""The Russian pages say what the English ones say now: nothing is missing, stale or written past
the catalogue.

`make docs-ru` updates the catalogues and writes the pages (support/page_translation.py).
"""

from __future__ import annotations

import os
import re

import pytest
from markdown_it import MarkdownIt

from support import page_translation
from support.command import REPOSITORY
from support.page_translation import (
    CATALOGUES,
    CODE,
    LINK,
    diagrams,
    english_pages,
    messages,
    read_catalogue,
    russian,
    russian_path,
)

PAGES = english_pages()
FACTS = re.compile(
    r"\b(?:E[A-Z0-9]{3,}|CAP_\w+|SIG[A-Z]+|CVE-[\d-]+|[A-Z]+_[A-Z_]+)\b|[\w-]+\(\d\)|\{\}"
)
# A command in a diagram, without the remark behind it.
TYPED = re.compile(r"(?m)^(?:[$#] .*?|minidock .*?|W /\S+)(?=  |$)")

each_catalogue = pytest.mark.parametrize("name", sorted(set(PAGES.values())))
each_page = pytest.mark.parametrize("page", PAGES)


def facts(text: str) -> set[str]:
    """Code, links, and names of the kernel's: the same in all languages."""
    links = {f"{target}{anchor}" for target, anchor in LINK.findall(text)}
    return {*CODE.findall(text), *links, *FACTS.findall(CODE.sub("", text))}


def structure(markdown: str) -> list[tuple[str, str, str]]:
    """The blocks of a page, with the content of those between ```."""
    return [
        (token.type, token.tag, token.content if token.type == "fence" else "")
        for token in MarkdownIt("commonmark").enable("table").parse(markdown)
    ]


def test_readme_lecture_how_it_works_and_labs_are_translated() -> None:
    assert {"README.md", "docs/lecture.md", "docs/how-it-works/README.md"} <= set(PAGES)
    assert {"labs/README.md", "labs/00-chroot/README.md", "labs/11-image/README.md"} <= set(PAGES)
    assert {path.stem for path in CATALOGUES.iterdir()} == set(PAGES.values())


@each_catalogue
def test_every_message_is_translated_and_none_is_stale(name: str) -> None:
    catalogue = read_catalogue(name)
    missing = [text for text in messages(name) if not catalogue.get(text)]
    assert missing == [], f"make docs-ru, then translate them in {name}.po, and make docs-ru again"
    assert sorted(set(catalogue) - set(messages(name)) - set(diagrams(name)) - {""}) == [], (
        "make docs-ru"
    )


@each_catalogue
def test_a_translation_has_the_code_links_and_names_of_its_message(name: str) -> None:
    catalogue = read_catalogue(name)
    different = {
        text: facts(text) ^ facts(catalogue[text])
        for text in messages(name)
        if facts(text) != facts(catalogue[text])
    }
    assert different == {}


@each_catalogue
def test_a_translated_diagram_has_the_names_and_commands_of_its_original(name: str) -> None:
    pairs = [(text, read_catalogue(name).get(text)) for text in diagrams(name)]
    for text, translated in pairs:
        if translated:
            assert set(FACTS.findall(text)) == set(FACTS.findall(translated))
            assert TYPED.findall(text) == TYPED.findall(translated)


@each_catalogue
def test_a_translation_is_in_russian(name: str) -> None:
    """Only a name or two, such as "cgroups" or "cgroup v1", is the same in both languages."""
    catalogue = read_catalogue(name)
    same = [text for text in messages(name) if not re.search("[а-яё]", catalogue[text].lower())]
    assert [text for text in same if len(CODE.sub("", text).split()) > 3] == []


@each_page
def test_a_page_is_what_the_catalogue_gives(page: str) -> None:
    committed = (REPOSITORY / russian_path(page)).read_text(encoding="utf-8")
    assert committed == russian(page, read_catalogue(PAGES[page])), "make docs-ru"


@each_page
def test_a_page_has_the_structure_of_its_original(page: str) -> None:
    """Headings, lists, tables and code blocks: no line of a translation became Markdown."""
    english, other = (
        (REPOSITORY / path).read_text(encoding="utf-8") for path in (page, russian_path(page))
    )
    assert structure(other) == structure(english)


@each_page
def test_the_two_languages_link_to_each_other(page: str) -> None:
    other = russian_path(page)
    there = os.path.relpath(other, os.path.dirname(page))
    back = os.path.relpath(page, os.path.dirname(other))
    assert f"\n\n[По-русски]({there})\n\n" in (REPOSITORY / page).read_text(encoding="utf-8")
    assert f"\n\n[In English]({back})\n\n" in (REPOSITORY / other).read_text(encoding="utf-8")


def test_code_stays_and_text_does_not(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    english = """# One

- two `ls a` [lecture](docs/lecture.md)

  ```console
  $ echo two
  ```

| what | `code` |
|:--|--|
| three | 7 |

<!-- bench: begin -->
| 12 ms (min 3.5) |
|---|
<!-- bench: end -->
"""
    catalogue = {
        "One": "Один",
        "two `ls a` [lecture](docs/lecture.md)": "два `ls a` [лекция](docs/lecture.md)",
        "what": "что",
        "three": "три",
        "{} ms (min {})": "{} мс (мин. {})",
    }
    monkeypatch.setattr(page_translation, "REPOSITORY", tmp_path)
    (tmp_path / "README.md").write_text(english, encoding="utf-8")  # type: ignore[operator]
    monkeypatch.setattr(page_translation, "english_pages", lambda: {"docs/lecture.md": "x"})
    done = russian("README.md", catalogue)
    assert "# Один\n\n- два `ls a` [лекция](lecture.md)\n\n  ```console\n  $ echo two\n" in done
    assert "| что | `code` |\n|:--|--|\n| три | 7 |\n" in done
    assert "| 12 мс (мин. 3.5) |" in done
    with pytest.raises(KeyError, match="three"):
        russian("README.md", {**catalogue, "three": ""})
