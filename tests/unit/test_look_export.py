"""look --export: one file that loads nothing, runs only its own script, and keeps data as data."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import minidock.teach.look
from minidock.teach.language import language
from minidock.teach.look.document import document_of
from minidock.teach.look.export import SCRIPTS, export
from minidock.teach.look.thing import TILES
from minidock.teach.look.words import words
from minidock.teach.subject import Subject
from support.made_journal import CLONE, entries

PAGE = Path(minidock.teach.look.__file__).parent / "page"
EVIL = "</script><img src=x onerror=alert(1)><!--<script>"


def subject(name: str = "box") -> Subject:
    ops = entries(
        ("monitor", "namespace.clone_process", CLONE, {"made": 7}),
        ("init", "namespace.set_hostname", {"name": name}, {}),
    )
    return Subject(f"{name}: sh · busybox", {}, ops)


class Elements(HTMLParser):
    """The elements of a page, with their attributes and the text in each."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None], list[str]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs), []))

    def handle_endtag(self, tag: str) -> None:
        self.elements.append(("end of " + tag, {}, []))

    def handle_data(self, data: str) -> None:
        if self.elements:
            self.elements[-1][2].append(data)

    def named(self, tag: str) -> list[tuple[dict[str, str | None], str]]:
        return [(attrs, "".join(text)) for name, attrs, text in self.elements if name == tag]


def page(name: str = "box") -> Elements:
    return Elements(export([subject(name)], language=language("en")).decode())


def test_the_policy_allows_the_style_and_the_script_by_their_hashes_and_nothing_else() -> None:
    shown = page()
    ((style_attributes, style),) = shown.named("style")
    scripts = [text for attributes, text in shown.named("script") if "type" not in attributes]
    metas = [attributes for attributes, _ in shown.named("meta")]
    policies = [meta["content"] for meta in metas if "http-equiv" in meta]

    def source(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    assert style_attributes == {} and len(scripts) == 1
    assert policies == [
        f"default-src 'none'; script-src {source(scripts[0])}; style-src {source(style)}; "
        "base-uri 'none'; form-action 'none'"
    ]


def test_nothing_has_an_address_or_a_handler_of_its_own() -> None:
    for tag, attributes, _ in page().elements:
        assert tag not in ("link", "img", "iframe", "object", "embed", "base")
        handlers = {name for name in attributes if name.startswith("on")}
        assert not handlers | set(attributes) & {"src", "href", "style"}


def test_a_hostile_name_stays_data() -> None:
    plain, hostile = page(), page(EVIL)
    assert [tag for tag, *_ in hostile.elements] == [tag for tag, *_ in plain.elements]
    (data,) = [text for attributes, text in hostile.named("script") if "type" in attributes]
    assert "<" not in data
    story: dict[str, Any] = json.loads(data)["stories"][0]
    assert story["title"].startswith(EVIL)
    assert ["name", EVIL] in story["steps"][1]["args"]


SERVED = ("now.js", "live.js", "step.js", "xray.js", "inodes.js", "path.js", "packet.js")
# Words that the page asks for by the names which the server sends: gauges, events, roles of layers.
SERVED_WORDS = {
    "memory", "pids", "cpu", "cpu_pressure", "memory_pressure", "io_pressure", "oom_kill",
    "throttled", "differs_on", "differs_off", "role:seen", "role:merged", "role:content",
    "role:hidden", "way:host", "way:outside", "way:container", "way:between", "way:dns",
    "netns:host", "netns:container", "netns:sender", "status:answered", "status:relayed",
    "status:stopped",
}  # fmt: skip


def test_the_script_never_parses_text_as_html() -> None:
    script = "".join((PAGE / name).read_text() for name in SCRIPTS)
    forbidden = (
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write"
        r"|\beval\b|Function\(|fetch\(|XMLHttp|import\("
    )
    assert re.findall(forbidden, script) == []
    served = "".join((PAGE / name).read_text() for name in SERVED)
    assert set(re.findall(forbidden, served)) == {"fetch("}, "and asks its own server only"
    assert {path.name for path in PAGE.glob("*.js")} == {*SCRIPTS, *SERVED}


def test_every_word_of_the_script_is_in_the_documents_words_and_none_is_left_over() -> None:
    known = set(words(str))
    text = "".join(path.read_text() for path in PAGE.iterdir())
    tiles = set(re.findall(r"^  (\w+): \{ x:", text, re.MULTILINE))
    used = set(re.findall(r'(?:word\(|data-word=|data-label=)"(\w+)"', text))
    assert used <= known
    kinds = {f"kind:{kind}" for kind in TILES}
    assert {key for key in known if key.startswith("kind:")} == kinds
    quoted = set(re.findall(r'"(\w+)"', text))
    assert known - kinds - quoted - tiles - SERVED_WORDS == set()
    assert known >= SERVED_WORDS


def test_each_kind_of_thing_has_a_tile_in_the_picture() -> None:
    drawn = re.findall(r"^  (\w+): \{ x:", (PAGE / "layout.js").read_text(), re.MULTILINE)
    assert set(TILES.values()) <= set(drawn)


def test_the_document_has_each_operation_with_its_whole_twin() -> None:
    document = document_of([subject(), subject("other")], language("ru"))
    titles = [story["title"] for story in document["stories"]]
    assert titles == ["box: sh · busybox", "other: sh · busybox"]
    assert document["language"] == "ru"
    steps = document["stories"][0]["steps"]
    assert [step["op"] for step in steps] == ["namespace.clone_process", "namespace.set_hostname"]
    assert steps[1]["twin"] == "hostname box"
    assert document["ops"]["namespace.set_hostname"]["man"] == "sethostname(2)"
    assert len(document["rows"]) == 13
