"""look --export: one HTML file that replays a journal, for readers without minidock.

    page/look.html     the skeleton, with a mark for each of the following
    page/*.css         -> one <style>, in the order of STYLES
    page/*.js          -> one <script>, in the order of SCRIPTS
    document.py        -> <script type="application/json">, which is data and is never run

The file loads nothing: its Content-Security-Policy allows the one style and the one script by
their hashes, and no other source of anything. What comes from a container is in the data alone:
each "<" of it is escaped, so that it cannot end its element, and the script passes it to
textContent and setAttribute only.

Sources: HTML, "Restrictions for contents of script elements"; Content Security Policy Level 3.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import os

from minidock.printable import printable
from minidock.teach.look.document import document_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.teach.language import Language
    from minidock.teach.look.document import Document
    from minidock.teach.look.lecture import Lecture
    from minidock.teach.subject import Subject

_PAGE = os.path.join(os.path.dirname(__file__), "page")
STYLES = ("look.css", "beside.css", "lecture.css")
SCRIPTS = (
    "data.js", "draw.js", "layout.js", "half.js", "scene.js", "drawings.js", "lanes.js",
    "details.js", "table.js", "player.js", "predict.js", "compare.js", "pairs.js",
    "differences.js", "beside.js", "lecture.js", "look.js",
)  # fmt: skip


def export(subjects: list[Subject], *, language: Language, lecture: Lecture | None = None) -> bytes:
    """The page of these subjects, the first one shown."""
    title = ", ".join(subject.title for subject in subjects)
    return page_of({**document_of(subjects, language), "lecture": lecture}, title)


def page_of(
    document: Document,
    title: str,
    *,
    scripts: tuple[str, ...] = SCRIPTS,
    styles: tuple[str, ...] = STYLES,
    sources: str = "",
) -> bytes:
    """The page of a document. sources: more directives of its Content-Security-Policy."""
    data = json.dumps(document, ensure_ascii=True, separators=(",", ":"))
    style = "".join(_read(name) for name in styles)
    script = '"use strict";\n' + "".join(_read(name) for name in scripts)
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; "
        f"base-uri 'none'; form-action 'none'{sources}"
    )
    parts = {
        "LANGUAGE": html.escape(document["language"]),
        "POLICY": policy,
        "TITLE": html.escape(printable(title)),
        "STYLE": style,
        "DATA": data.replace("<", "\\u003c"),
        "SCRIPT": script,
    }
    page = _read("look.html")
    pieces = page.split("@@")
    filled = [parts[piece] if at % 2 else piece for at, piece in enumerate(pieces)]
    return "".join(filled).encode("utf-8", "replace")


def _read(name: str) -> str:
    with open(os.path.join(_PAGE, name), encoding="utf-8") as file:
        return file.read()


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
