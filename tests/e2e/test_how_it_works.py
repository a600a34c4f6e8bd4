"""docs/how-it-works and the lecture: what their commands print today is what the pages say.

With MINIDOCK_WRITE_DOCS=1 (`make docs`) a page that is out of date is written anew instead.
"""

from __future__ import annotations

import difflib
import os
import socket
from pathlib import Path

import pytest

from minidock.paths import Store
from support.command import REPOSITORY
from support.pages import masked, rerun

pytestmark = pytest.mark.root

PAGES = [*sorted((REPOSITORY / "docs/how-it-works").glob("*.md")), REPOSITORY / "docs/lecture.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_tells_what_its_commands_print(
    page: Path, store: Store, busybox_image: str, tmp_path: Path
) -> None:
    now = rerun(page, store, _free_port(), tmp_path)
    if masked(now) == masked(page.read_text()):
        return
    if os.environ.get("MINIDOCK_WRITE_DOCS"):
        page.write_text(now)
        pytest.skip(f"{page.name} is written anew")
    lines = (masked(text).splitlines() for text in (page.read_text(), now))
    told = "\n".join(difflib.unified_diff(*lines, page.name, "what is printed now", lineterm=""))
    pytest.fail(f"`make docs` writes it anew:\n{told}")


def test_a_page_that_says_something_else_is_found(
    store: Store, busybox_image: str, tmp_path: Path
) -> None:
    page = tmp_path / "page.md"
    page.write_text("```console\n$ echo $((6 * 7))\n42\n$ minidock images -q | wc -l\n2\n```\n")
    now = rerun(page, store, _free_port(), tmp_path)
    assert masked(now) == masked(page.read_text()).replace("\n2\n", "\n1\n") != page.read_text()


def test_what_differs_by_nature_is_masked_and_what_is_the_same_stays_the_same() -> None:
    one = "net:[4026531840] net:[4026532001] 172.18.0.2/16 in 3 µs, mount.py:12"
    other = "net:[4026531833] net:[4026532999] 172.25.0.2/16 in 1.2 ms, mount.py:99"
    assert masked(one) == masked(other)
    assert masked("net:[4026531840] net:[4026531840]") != masked(
        "net:[4026531840] net:[4026532001]"
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])
