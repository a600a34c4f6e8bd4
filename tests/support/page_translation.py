"""Russian pages from English ones: Markdown with each sentence replaced by its translation.

    make docs-ru       after an English page or a catalogue was changed

updates the catalogues in docs/ru/catalogues and writes the Russian pages. A message is the text
of one paragraph, list item, heading or table cell. Links lead to Russian pages where these exist.
Blocks between ``` stay as they are; indented blocks, which are diagrams and commands with remarks,
may be translated: where the catalogue has no translation, they stay too. Between
`<!-- bench: begin -->` and its end, numbers are not part of a message: `{}` stands for each.

Source: GNU gettext manual, "The Format of PO Files"; CommonMark Spec; markdown-it-py, "Token".
"""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from markdown_it import MarkdownIt

from minidock.teach.language import parse_catalogue
from support.catalogue import write
from support.command import REPOSITORY

CATALOGUES = REPOSITORY / "docs/ru/catalogues"
WIDTH = 110

LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)\s#]+)(#[^)\s]*)?\)")
CODE = re.compile(r"`[^`]+`")
_MARKER = re.compile(r" (?=[-+*>#|=]|\d+[.)])")  # at the start of a line it would be Markdown
_NUMBER = re.compile(r"\d+(?:\.\d+)*")
_PAGE = re.compile(r"(?<=[`\[])[\w-]+/[\w/.-]+\.md(?=[`\]])")  # as code, or as the text of a link
_TO_RUSSIAN = re.compile(r"\[По-русски\]\(\S+\)")


def english_pages() -> dict[str, str]:
    """The pages to translate: path in the repository -> name of the catalogue."""
    pages = {"README.md": "readme", "docs/lecture.md": "lecture"}
    for path in sorted((REPOSITORY / "docs/how-it-works").glob("*.md")):
        pages[f"docs/how-it-works/{path.name}"] = "how-it-works"
    pages["labs/README.md"] = "labs"
    for path in sorted((REPOSITORY / "labs").glob("[0-9]*/README.md")):
        pages[f"labs/{path.parent.name}/README.md"] = f"lab-{path.parent.name[:2]}"
    return pages


def catalogue_of(name: str) -> Path:
    """The file of a catalogue."""
    return CATALOGUES / f"{name}.po"


def russian_path(page: str) -> str:
    """docs/ru/PAGE for a page of docs/ and for README.md, README.ru.md beside one of labs/."""
    if page.startswith("labs/"):
        return page.removesuffix(".md") + ".ru.md"
    return f"docs/ru/{page.removeprefix('docs/')}"


@dataclass
class Block:
    """Lines of a page to translate: one paragraph or heading, the cells of a row, a diagram."""

    first: int
    end: int
    texts: list[str] = field(default_factory=list)
    kind: str = "text"  # or "row", "diagram"


def blocks(markdown: str) -> Iterator[Block]:
    """The blocks of a page, in order."""
    row: Block | None = None
    for token in MarkdownIt("commonmark").enable("table").parse(markdown):
        if token.type == "tr_open" and token.map:
            row = Block(*token.map, kind="row")
        elif token.type == "tr_close" and row:
            yield row
            row = None
        elif token.type == "inline" and row:
            row.texts.append(token.content)
        elif token.type == "code_block" and token.map:
            yield Block(*token.map, texts=[token.content.rstrip("\n")], kind="diagram")
        elif token.type == "inline" and token.map:
            yield Block(*token.map, texts=[" ".join(token.content.split())])


def is_message(text: str) -> bool:
    """Whether a text has words outside of code, link targets and link-only lines."""
    if _TO_RUSSIAN.fullmatch(text):
        return False
    return bool(re.search(r"[A-Za-z]{2}", re.sub(r"\]\([^)]*\)", "]", CODE.sub("", text))))


def messages(name: str) -> dict[str, str]:
    """What a catalogue has to translate: msgid -> the page."""
    return _texts(name, {"text", "row"})


def diagrams(name: str) -> dict[str, str]:
    """What a catalogue may translate: msgid -> the page."""
    return _texts(name, {"diagram"})


def _texts(name: str, kinds: set[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for page in (page for page, other in english_pages().items() if other == name):
        markdown = (REPOSITORY / page).read_text(encoding="utf-8")
        measured = _measured_lines(markdown)
        for block in (block for block in blocks(markdown) if block.kind in kinds):
            for text in filter(is_message, block.texts):
                message = _NUMBER.sub("{}", text) if block.first in measured else text
                found.setdefault(message, page)
    return found


def russian(page: str, catalogue: dict[str, str]) -> str:
    """The Russian page. Raises KeyError for a message without a translation."""
    markdown = (REPOSITORY / page).read_text(encoding="utf-8")
    lines = markdown.splitlines()
    measured = _measured_lines(markdown)
    done: list[str] = []
    at = 0
    for block in blocks(markdown):
        done += lines[at : block.first]
        at = block.end
        if block.kind == "diagram":
            done += _diagram(block, lines[block.first : block.end], catalogue)
            continue
        translate = _translator(page, catalogue, numbers=block.first in measured)
        done += _rendered(block, lines[block.first : block.end], translate)
    return "\n".join([*done, *lines[at:], ""])


def _translator(page: str, catalogue: dict[str, str], *, numbers: bool) -> Callable[[str], str]:
    def translate(text: str) -> str:
        if _TO_RUSSIAN.fullmatch(text):
            return f"[In English]({os.path.relpath(page, os.path.dirname(russian_path(page)))})"
        if is_message(text):
            found = catalogue[_NUMBER.sub("{}", text) if numbers else text]
            if not found:
                raise KeyError(text)
            text = found.format(*_NUMBER.findall(text)) if numbers else found
        text = _PAGE.sub(lambda path: _other(path[0]), text)
        return LINK.sub(lambda link: _moved(link, page), text)

    return translate


def _other(path: str) -> str:
    return russian_path(path) if path in english_pages() else path


def _moved(link: re.Match[str], page: str) -> str:
    """A link of the English page as the Russian one has it: to a Russian page, if there is one."""
    target = os.path.normpath(os.path.join(os.path.dirname(page), link[1]))
    target = target if link[2] else _other(target)
    here = os.path.dirname(russian_path(page))
    slash = "/" if link[1].endswith("/") else ""
    return f"]({os.path.relpath(target, here)}{slash}{link[2] or ''})"


def _diagram(block: Block, lines: list[str], catalogue: dict[str, str]) -> list[str]:
    translated = catalogue.get(block.texts[0])
    if not translated:
        return lines
    return [f"    {line}".rstrip() for line in translated.split("\n")]


def _rendered(block: Block, lines: list[str], translate: Callable[[str], str]) -> list[str]:
    texts = [translate(text) for text in block.texts]
    if block.kind == "row":
        return ["| " + " | ".join(text.replace("|", "\\|") for text in texts) + " |"]
    begin = re.match(r"(?:[ >]|[-*+] |\d+[.)] )*(?:#+ )?", lines[0])
    first = begin[0] if begin else ""
    if "#" in first:
        return [first + texts[0]]
    rest = re.sub(r"[^>]", " ", first)
    kept = CODE.sub(lambda code: code[0].replace(" ", "\0"), texts[0])
    wrapped = textwrap.wrap(
        _MARKER.sub("\0", kept), WIDTH, initial_indent=first, subsequent_indent=rest,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
    return [line.replace("\0", " ") for line in wrapped]


def _measured_lines(markdown: str) -> range:
    lines = markdown.splitlines()
    if "<!-- bench: begin -->" not in lines:
        return range(0)
    return range(lines.index("<!-- bench: begin -->"), lines.index("<!-- bench: end -->"))


def read_catalogue(name: str) -> dict[str, str]:
    """A catalogue: msgid -> translation, "" where there is none."""
    if not catalogue_of(name).exists():
        return {"": "Language: ru\nContent-Type: text/plain; charset=UTF-8\n"}
    return parse_catalogue(catalogue_of(name).read_text(encoding="utf-8"))


def _main() -> None:
    for name in sorted(set(english_pages().values())):
        write(catalogue_of(name), read_catalogue(name), messages(name) | diagrams(name))
    for page, name in english_pages().items():
        catalogue = read_catalogue(name)
        missing = [text for text in messages(name) if not catalogue.get(text)]
        if missing:
            print(f"{catalogue_of(name)}: to translate: {missing[0]}")
            continue
        path = REPOSITORY / russian_path(page)
        path.parent.mkdir(exist_ok=True)
        path.write_text(russian(page, catalogue), encoding="utf-8")


if __name__ == "__main__":
    _main()
