"""A lecture: a Markdown file whose steps drive the page of `look`.

    # Title
    Text before the first step.
    ## 3:00 How it was created                            a step: each heading of level 2
    <!-- look: box before pivot_root phases predict -->   what the page shows with it
    Text, lists, tables, and blocks of commands to copy.

    look:  CONTAINER [at PLACE | before PLACE] [ZOOM] [predict]

PLACE is `start`, `end`, a row (`pivot_root`, `net`, …) or an operation (`mount.pivot_root`); `at`
is after its last one, `before` is before its first one. Other readers of Markdown skip the comment.

A file becomes a tree of lists, ["p", "text", ["code", "ls"]]: a name of TAGS, then texts and
further lists. HTML in the file is shown as text; a link as its text; an image as its description.

Sources: CommonMark 0.31; GitHub's tables; markdown-it-py's documentation.
"""

from __future__ import annotations

import os
import re

from minidock.errors import UsageError
from minidock.teach.look.rows import ROWS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypedDict

    from markdown_it.tree import SyntaxTreeNode

    Block = list[str | "Block"]

    class Show(TypedDict):
        """What a step shows. side: "at" or "before" its place; both are "" for the container."""

        container: str
        side: str
        place: str
        zoom: str
        predict: bool

    class LectureStep(TypedDict):
        """A step: the text of its heading, its blocks, and what it shows."""

        title: str
        blocks: list[Block]
        show: Show | None

    class Lecture(TypedDict):
        """The first step has the title of the lecture, and the text before the others."""

        steps: list[LectureStep]


BYTES_MOST = 1 << 20
TAGS = frozenset(
    "p ul ol li pre code em strong blockquote hr br h3 h4 h5 h6 table thead tbody tr th td".split()
)
ZOOMS = ("isolations", "phases", "operations")
_COMMENT = re.compile(r"\s*<!--(.*?)-->\s*", re.DOTALL)
_WITHOUT_TAG = frozenset({"inline", "link"})
_HINT = "look: CONTAINER [at PLACE | before PLACE] [isolations | phases | operations] [predict]"


def read_lecture(path: str) -> Lecture:
    """Read a lecture. Raises UsageError, naming the file and the line."""
    from markdown_it import MarkdownIt
    from markdown_it.tree import SyntaxTreeNode

    text = _text(path)
    root = SyntaxTreeNode(MarkdownIt("commonmark").enable("table").parse(text))
    steps: list[LectureStep] = [{"title": os.path.basename(path), "blocks": [], "show": None}]
    for node in root.children:
        if node.type == "heading" and node.tag == "h2":
            steps.append({"title": _plain(node), "blocks": [], "show": None})
        elif node.type == "heading" and node.tag == "h1":
            steps[0]["title"] = _plain(node)
        elif (comment := _comment(node)) is not None:
            if comment.startswith("look:"):
                place = f"{path}:{(node.map or (0, 0))[0] + 1}"
                steps[-1]["show"] = _show(comment.removeprefix("look:").split(), place)
        else:
            steps[-1]["blocks"].append(_block(node))
    if len(steps) == 1:
        raise UsageError(f"{path} has no step", hint="each heading of level 2 begins one: ## Title")
    return {"steps": steps}


def containers_of(lecture: Lecture) -> list[str]:
    """The containers that a lecture shows, each once."""
    names = [step["show"]["container"] for step in lecture["steps"] if step["show"]]
    return list(dict.fromkeys(names))


def _text(path: str) -> str:
    try:
        with open(path, "rb") as file:
            data = file.read(BYTES_MOST + 1)
        if len(data) > BYTES_MOST:
            raise UsageError(f"--lecture {path}: longer than {BYTES_MOST >> 20} MiB")
        return data.decode()
    except OSError as error:
        raise UsageError(f"--lecture {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"--lecture {path}: not UTF-8 text") from None


def _comment(node: SyntaxTreeNode) -> str | None:
    """The text of a block that is one HTML comment."""
    found = _COMMENT.fullmatch(node.content) if node.type == "html_block" else None
    return found[1].strip() if found else None


def _show(words: Sequence[str], place: str) -> Show:
    """Parse what a step shows. place: of the comment, for errors."""
    if not words:
        raise UsageError(f"{place}: no container", hint=_HINT)
    shown: Show = {
        "container": words[0], "side": "", "place": "", "zoom": "", "predict": False,
    }  # fmt: skip
    rest = list(words[1:])
    while rest:
        word = rest.pop(0)
        if word in ("at", "before"):
            shown["side"], shown["place"] = word, _place(rest.pop(0) if rest else "", place)
        elif word in ZOOMS:
            shown["zoom"] = word
        elif word == "predict":
            shown["predict"] = True
        else:
            raise UsageError(f"{place}: unknown word: {word}", hint=_HINT)
    return shown


def _place(word: str, place: str) -> str:
    from minidock.kernel.op import REGISTRY
    from minidock.teach.journal_reader import load_ops

    load_ops()
    if word not in ("start", "end", *ROWS) and word not in REGISTRY:
        known = ", ".join(ROWS)
        raise UsageError(
            f"{place}: no such place: {word or '(none)'}",
            hint=f"start, end, a row ({known}), or an operation as explain --all names it",
        )
    return word


def _block(node: SyntaxTreeNode) -> Block:
    """A node and what is in it, as lists."""
    if node.type in ("fence", "code_block"):
        return ["pre", node.content.removesuffix("\n")]
    if node.type == "code_inline":
        return ["code", node.content]
    if node.tag not in TAGS:
        return ["p", node.content or _plain(node)]  # HTML, as it is written
    return [node.tag, *_contents(node)]


def _contents(node: SyntaxTreeNode) -> Block:
    found: Block = []
    for child in node.children:
        if child.type == "text" and not child.content:
            continue
        if child.type == "text":
            found.append(child.content)
        elif child.type == "softbreak":
            found.append(" ")
        elif child.type in _WITHOUT_TAG:
            found += _contents(child)
        elif child.type in ("image", "html_inline"):
            found.append(child.content)
        else:
            found.append(_block(child))
    return found


def _plain(node: SyntaxTreeNode) -> str:
    """The text of a node, without marks."""
    if node.type in ("text", "code_inline", "html_inline", "image"):
        return node.content
    return "".join(" " if child.type == "softbreak" else _plain(child) for child in node.children)
