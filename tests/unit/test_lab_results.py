"""Rubrics that cannot be used; results as text, JSON, Gradescope's and JUnit's reports."""

from __future__ import annotations

import io
import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from minidock.errors import UsageError
from minidock.teach.lab import marks, reports, rubric
from minidock.teach.lab.check import Result, sanitize
from minidock.teach.lab.folder import Lab
from minidock.teach.lab.sandbox_process import parse_mounts

HEAD = '[lab]\ntitle = "T"\nabout = "A"\nminutes = 1\nexplain = []\nread = []\n'


def item(name: str, points: int, more: str = "") -> str:
    return f'[[item]]\nname = "{name}"\npoints = {points}\nexpect = "e"\nhint = "h"\n{more}\n'


def read(folder: Path, text: str) -> rubric.Rubric:
    (folder / "rubric.toml").write_text(text)
    return rubric.read(str(folder))


def test_a_rubric_is_read(tmp_path: Path) -> None:
    text = HEAD + "[limits]\nseconds = 3\n" + item("a-b", 40) + item("c", 60, 'needs = ["a-b"]')
    rules = read(tmp_path, text)
    assert [(i.name, i.probe, i.needs) for i in rules.items] == [
        ("a-b", "a_b", ()),
        ("c", "c", ("a-b",)),
    ]
    assert (rules.limits.seconds, rules.limits.pids) == (3, 256)
    assert [i.name for i in rules.with_needs(["c"])] == ["a-b", "c"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HEAD + item("a", 99), "sum up to 99"),
        (HEAD + item("a", 50) + item("a", 50), "a appears twice"),
        (HEAD + item("a", 50, 'needs = ["b"]') + item("b", 50), "must come before"),
        (HEAD + item("a", 100, "worth = 3"), "worth"),
        (HEAD + "[limits]\nhours = 1\n" + item("a", 100), "hours"),
        ("[[item]", "rubric.toml"),
        (HEAD, "item"),
    ],
)
def test_a_rubric_with_a_mistake_is_refused(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(rubric.BadRubric, match=said):
        read(tmp_path, text)


@pytest.fixture
def results(tmp_path: Path) -> tuple[Lab, rubric.Rubric, list[Result]]:
    rules = read(tmp_path, HEAD + item("a", 20) + item("b", 50) + item("c", 30, 'needs = ["b"]'))
    garbled = sanitize("</system-out> \x1b[2J\x00\ud800 & \"'")
    a, b, c = rules.items
    return (
        Lab(str(tmp_path / "42-answer")),
        rules,
        [
            Result(a, True, "fine", 0.5),
            Result(b, False, garbled, 0.25),
            Result(c, False, "not looked at: needs b", 0.0, ("b",)),
        ],
    )


def test_text_says_what_was_seen_and_expected(
    results: tuple[Lab, rubric.Rubric, list[Result]],
) -> None:
    out = io.StringIO()
    marks.write_text(*results, out)
    text = out.getvalue()
    assert text.startswith("Lab 42, T: 20 of 100 points\n")
    assert text.count("expected") == text.count("hint") == 1  # not for what was not looked at
    assert "\x1b" not in text and "\0" not in text


def test_reports_are_well_formed_whatever_was_seen(
    results: tuple[Lab, rubric.Rubric, list[Result]],
) -> None:
    lab, _, items = results
    told = json.loads(reports.gradescope(lab, items))
    assert told["score"] == 20
    assert [test["status"] for test in told["tests"]] == ["passed", "failed", "failed"]
    assert [test["max_score"] for test in told["tests"]] == [20, 50, 30]
    suite = ElementTree.fromstring(reports.junit(lab, items).encode())[0]
    cases = suite.findall("testcase")
    assert [case.find("failure") is not None for case in cases] == [False, True, True]
    assert [suite.get("tests"), suite.get("failures")] == ["3", "2"]
    assert "20 of 20 points" in (cases[0].findtext("system-out") or "")
    assert json.loads(json.dumps(marks.as_json(lab, items)))["points"] == 20


def test_a_long_answer_is_cut() -> None:
    assert len(sanitize("x" * 10_000)) < 1000


def test_a_report_needs_a_folder_and_takes_an_old_one_away(tmp_path: Path) -> None:
    old = tmp_path / "results.json"
    old.write_text('{"score": 100}')
    wanted = reports.Reports()
    wanted.add(str(old), reports.gradescope)
    assert not old.exists()
    for path in (tmp_path, tmp_path / "nowhere/x"):
        with pytest.raises(UsageError, match="cannot be written"):
            wanted.add(str(path), reports.junit)


def test_mountinfo_is_parsed() -> None:
    lines = (
        "36 35 98:0 /mnt1 /a\\040b rw,noatime shared:1 master:2 - ext3 /dev/root rw,quota\n"
        "37 36 0:5 / /proc ro - proc proc rw\n"
    )
    first, second = parse_mounts(lines)
    assert (first.target, first.root, first.propagation) == (
        "/a b",
        "/mnt1",
        ("shared:1", "master:2"),
    )
    assert (first.fstype, first.source, first.super_options[1]) == (
        "ext3",
        "/dev/root",
        "quota",
    )
    assert (second.target, second.options, second.propagation) == ("/proc", ("ro",), ())
