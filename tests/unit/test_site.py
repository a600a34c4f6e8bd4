"""`make site`: a strict build, of which a browser loads everything from the site itself."""

from __future__ import annotations

import html.parser
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.command import REPOSITORY

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("site")]  # it is built once

LOADING = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}
ELSEWHERE = re.compile(r"^(?:https?:)?//")
IN_A_STYLE = re.compile(
    r"url\(\s*[\"']?((?:https?:)?//[^)\"']+)|@import\s+[\"']((?:https?:)?//[^\"']+)"
)


class Loads(html.parser.HTMLParser):
    """Collects what a page loads by itself, and what it links to."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attrs}
        if tag in LOADING:
            self.loaded.append(named.get(LOADING[tag], ""))
        elif tag == "a":
            self.links.append(named.get("href", ""))


def read(page: Path) -> Loads:
    found = Loads()
    found.feed(page.read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make site` does, in a directory of the test."""
    place = tmp_path_factory.mktemp("site")
    mkdocs = Path(sys.executable).parent / "mkdocs"
    done = subprocess.run(
        [mkdocs, "build", "--quiet", "--site-dir", str(place)],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return place


def test_no_page_loads_anything_from_another_host(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 100
    loaded = {each for page in pages for each in read(page).loaded}
    assert any(each.endswith(".js") for each in loaded), "nothing is found at all"
    assert [each for each in sorted(loaded) if ELSEWHERE.match(each)] == []


def test_no_style_loads_anything_from_another_host(site: Path) -> None:
    styles = list(site.rglob("*.css"))
    assert styles
    assert {str(p): IN_A_STYLE.findall(p.read_text("utf-8")) for p in styles} == {
        str(path): [] for path in styles
    }


def test_a_link_out_of_docs_leads_to_a_page_of_that_file(site: Path) -> None:
    links = read(site / "read-this-first.html").links
    target = "repository/src/minidock/kernel/mount.py.html"
    assert target in links
    assert "pivot_root" in (site / target).read_text(encoding="utf-8")
    assert "read-this-first.html" in read(site / "index.html").links, "index is README.md"


def test_code_pages_have_public_docstrings_only(site: Path) -> None:
    text = (site / "code/engine.lifecycle.html").read_text(encoding="utf-8")
    assert 'id="minidock.engine.lifecycle.bulk.stop_all"' in text
    assert "minidock.engine.lifecycle.bulk._" not in text


def test_search_finds_a_page_by_a_word_of_its_text(site: Path) -> None:
    index = json.loads((site / "search/search_index.json").read_text(encoding="utf-8"))
    found = {each["location"] for each in index["docs"] if "pivot_root" in each["text"]}
    assert "how-it-works/pivot_root.html" in {location.partition("#")[0] for location in found}
