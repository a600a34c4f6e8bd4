"""How support holds minidock against docker, and how it ends its daemons."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support import parity
from support.command import Minidock
from support.docker_daemon import Docker
from support.parity import Engine, Outcome, Snippet, assert_same


class Daemon(Docker):
    """A daemon that has nothing."""

    inside: list[str] = []

    def __init__(self, home: Path) -> None:
        super().__init__(home, "plain")

    def remove_all_containers(self) -> None: ...

    def __call__(self, *arguments: str, **_how: Any) -> Any:
        assert arguments[:2] == ("volume", "prune")

    def ok(self, *arguments: str, **_how: Any) -> str:
        assert arguments[1] == "ls"
        return ""


def outcome(stdout: str | None) -> Outcome:
    """Of a run that printed this; None: that did not end."""
    made = Outcome()
    made.stdout, made.ended, made.code = stdout or "", stdout is not None, 0
    return made


@pytest.mark.parametrize(
    ("dockers", "minidocks", "differs", "same"),
    [
        (["a\n"], "a\n", False, True),
        (["late\n", "a\n"], "a\n", False, True),
        ([None, "a\n"], "a\n", False, True),
        (["late\n", "b\n"], "a\n", False, False),
        ([None, None], "a\n", False, False),
        (["a\n"], None, False, False),
        (["b\n"], "a\n", True, True),
        (["a\n", "b\n"], "a\n", True, True),
        (["a\n", "a\n"], "a\n", True, False),
    ],
)
def test_docker_is_asked_once_more_and_minidock_never(
    dockers: list[str | None],
    minidocks: str | None,
    differs: bool,
    same: bool,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    answers, asked = {"docker": dockers, "minidock": [minidocks]}, []

    def run(_text: str, _name: str, engines: list[Engine], _place: Path) -> list[Outcome]:
        asked.extend(engine.name for engine in engines)
        return [outcome(answers[engine.name].pop(0)) for engine in engines]

    monkeypatch.setattr(parity, "side_by_side", run)
    snippet = Snippet("f: c", "D version", ("c",), False, False, {"c": "why"} if differs else {})
    asked_how_often = len(dockers)
    if same:
        assert_same(snippet, Daemon(tmp_path), Minidock(str(tmp_path)), tmp_path)
    else:
        with pytest.raises(AssertionError):
            assert_same(snippet, Daemon(tmp_path), Minidock(str(tmp_path)), tmp_path)
    assert asked.count("minidock") == 1
    assert asked.count("docker") == asked_how_often


def test_a_case_that_neither_came_to_is_wrong(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(
        parity, "side_by_side", lambda _t, _n, engines, _p: [outcome("\n## a\nx\n")] * len(engines)
    )
    snippet = Snippet("f", "# one world", ("a", "b"), False, False, {})
    with pytest.raises(AssertionError, match="## b"):
        assert_same(snippet, Daemon(tmp_path), Minidock(str(tmp_path)), tmp_path)
