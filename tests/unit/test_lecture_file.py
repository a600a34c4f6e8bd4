"""A lecture file: what becomes a step, what it shows, what is text, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from minidock.errors import UsageError
from minidock.teach.look.lecture import BYTES_MOST, containers_of, read_lecture
from support.command import REPOSITORY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.teach.look.lecture import Lecture


def lecture(tmp_path: Path, text: str) -> Lecture:
    file = tmp_path / "talk.md"
    file.write_text(text, encoding="utf-8")
    return read_lecture(str(file))


def test_each_heading_of_level_two_begins_a_step(tmp_path: Path) -> None:
    found = lecture(tmp_path, "# Talk\nhello\n## `one` *two*\na\nb\n### part\n## three\n")
    assert [step["title"] for step in found["steps"]] == ["Talk", "one two", "three"]
    assert found["steps"][0]["blocks"] == [["p", "hello"]]
    assert found["steps"][1]["blocks"] == [["p", "a", " ", "b"], ["h3", "part"]]
    assert lecture(tmp_path, "## only\n")["steps"][0]["title"] == "talk.md"


def test_blocks_keep_their_structure(tmp_path: Path) -> None:
    text = "## s\n- a **b**\n- `c`\n\n| h |\n|---|\n| d |\n\n```console\n$ ls\nx\n```\n\n> q\n"
    assert lecture(tmp_path, text)["steps"][1]["blocks"] == [
        ["ul", ["li", ["p", "a ", ["strong", "b"]]], ["li", ["p", ["code", "c"]]]],
        ["table", ["thead", ["tr", ["th", "h"]]], ["tbody", ["tr", ["td", "d"]]]],
        ["pre", "$ ls\nx"],
        ["blockquote", ["p", "q"]],
    ]


def test_html_is_text_links_are_their_text_and_comments_are_left_out(tmp_path: Path) -> None:
    text = (
        "## s\n<script>alert(1)</script>\n\nx <b onclick=y>z</b> [l](javascript:y) [k](http://k)"
        " ![alt](p.png)\n\n<!-- a note -->\n"
    )
    assert lecture(tmp_path, text)["steps"][1]["blocks"] == [
        ["p", "<script>alert(1)</script>\n"],
        ["p", "x ", "<b onclick=y>", "z", "</b>", " [l](javascript:y) ", "k", " ", "alt"],
    ]


def test_a_comment_says_what_the_page_shows(tmp_path: Path) -> None:
    text = (
        "## a\n<!-- look: box -->\n## b\n<!--\nlook: box\n before mount.pivot_root phases predict"
        "\n-->\n## c\n<!-- look: db at net -->\n## d\n"
    )
    shows = [step["show"] for step in lecture(tmp_path, text)["steps"][1:]]
    nothing = {"side": "", "place": "", "zoom": "", "predict": False}
    assert shows == [
        {**nothing, "container": "box"},
        {"container": "box", "side": "before", "place": "mount.pivot_root", "zoom": "phases",
         "predict": True},
        {**nothing, "container": "db", "side": "at", "place": "net"},
        None,
    ]  # fmt: skip
    assert containers_of(lecture(tmp_path, text)) == ["box", "db"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("# no steps\n", "talk.md has no step"),
        ("## a\n\n<!-- look: -->\n", "talk.md:3: no container"),
        ("## a\n<!-- look: box at -->\n", "talk.md:2: no such place: (none)"),
        ("## a\n<!-- look: box at moon -->\n", "talk.md:2: no such place: moon"),
        ("## a\n<!-- look: box sideways -->\n", "talk.md:2: unknown word: sideways"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(UsageError) as error:
        lecture(tmp_path, text)
    assert says in str(error.value)


def test_a_file_that_cannot_be_a_lecture_is_refused(tmp_path: Path) -> None:
    big, bytes_ = tmp_path / "big", tmp_path / "bytes"
    big.write_bytes(b"x" * (BYTES_MOST + 1))
    bytes_.write_bytes(b"## \xff\n")
    for file, says in [(big, "longer than 1 MiB"), (bytes_, "not UTF-8"), (tmp_path, "Is a direc"),
                       (tmp_path / "none", "No such file")]:  # fmt: skip
        with pytest.raises(UsageError, match=says):
            read_lecture(str(file))


def test_the_lecture_of_the_docs_is_one(tmp_path: Path) -> None:
    found = read_lecture(str(REPOSITORY / "docs/lecture.md"))
    assert containers_of(found) == ["box"]
    shown = [step["title"].partition(" ")[0] for step in found["steps"] if step["show"]]
    assert shown == ["1:00", "2:00", "3:00", "5:00", "6:00", "7:30", "8:30"]
