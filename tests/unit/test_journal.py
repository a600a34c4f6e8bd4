"""Ops write down what they are about to do, and how it went."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from minidock.errors import Aborted, KernelError
from minidock.kernel import op as ops
from minidock.kernel.isolation import ISOLATION, OF_OP
from minidock.kernel.op import Journal, current_journal, describe, op, use_journal
from minidock.teach.without.isolations import ISOLATIONS
from support.catalogue import ops as all_ops

OF_OP["test_journal.act"] = OF_OP["test_journal.enter"] = ("process",)


def _act_sh(path: str, *, number: int) -> str:
    return f"act {path} {number}"


@op("act(2)", twin=_act_sh)
def act(path: str, *, number: int) -> int | None:
    """Do the thing that this test is about."""
    if number < 0:
        raise KernelError("act(2)", path, 22)
    return number or None


def _enter_sh(environment: list[str]) -> str:
    return "enter"


@op("enter(2)", twin=_enter_sh)
def enter(environment: list[str]) -> None:
    """Enter with an environment."""


@pytest.fixture
def records() -> Iterator[list[dict[str, Any]]]:
    lines: list[dict[str, Any]] = []
    use_journal(Journal(lambda text: lines.append(json.loads(text)), actor="engine"))
    yield lines
    use_journal(None)


def test_an_op_is_written_down_before_and_after(records: list[dict[str, Any]]) -> None:
    assert act("/x", number=3) == 3
    begin, end = records
    assert begin["op"] == "test_journal.act" and begin["args"] == {"path": "/x", "number": 3}
    assert begin["actor"] == "engine" and begin["begin"] == end["end"] == 1
    assert begin["phase"].endswith("test_an_op_is_written_down_before_and_after")
    assert end["made"] == 3


def test_a_refused_op_has_its_errno(records: list[dict[str, Any]]) -> None:
    with pytest.raises(KernelError):
        act("/x", number=-1)
    assert records[1]["errno"] == 22 and "made" not in records[1]


def test_values_of_the_environment_are_masked(records: list[dict[str, Any]]) -> None:
    enter(["PASSWORD=secret", "A=", "HOME=/root"])
    masked = ["PASSWORD=…", "A=…", "HOME=/root"]
    assert records[0]["args"] == {"environment": masked}


def test_a_record_is_described_by_its_op(records: list[dict[str, Any]]) -> None:
    act("/x", number=1)
    report_text = describe(records[0])
    assert report_text["why"] == "Do the thing that this test is about."
    assert report_text["twin"] == "act /x 1" and report_text["man"] == "act(2)"


def test_the_gate_sees_each_record_before_the_act(records: list[dict[str, Any]]) -> None:
    journal = ops.current_journal()
    assert journal is not None
    seen: list[dict[str, Any]] = []
    journal.gate = seen.append
    act("/x", number=1)
    assert [record.get("begin") for record in seen] == [1, None]


def test_without_a_journal_an_op_is_just_its_function() -> None:
    assert ops.current_journal() is None
    assert act("/x", number=5) == 5


def test_an_act_waits_for_its_turn_and_is_not_done_where_that_never_comes(
    records: list[dict[str, Any]],
) -> None:
    journal = current_journal()
    assert journal is not None
    written_at_turn: list[int] = []

    def refuse() -> None:
        written_at_turn.append(len(records))
        raise Aborted("given up")

    journal.turn = refuse
    with pytest.raises(Aborted):
        act("/x", number=1)
    assert written_at_turn == [1] and [r.get("begin") for r in records] == [1]


def test_a_child_waits_where_its_parent_does() -> None:
    parent = Journal(lambda _text: None, actor="monitor")

    def wait() -> None:
        """The child's way to ask."""

    assert parent.of_child(parent.write, actor="init", turn=wait).turn is None
    parent.turn = lambda: None
    assert parent.of_child(parent.write, actor="init", turn=wait).turn is wait
    assert parent.of_child(parent.write, actor="exec").turn is None


def test_an_id_is_unique_over_processes_that_create_each_other(
    records: list[dict[str, Any]],
) -> None:
    parent = current_journal()
    assert parent is not None
    act("/x", number=1)
    first = parent.of_child(parent.write, actor="init")
    act("/x", number=2)
    second = parent.of_child(parent.write, actor="init")
    for child in (first, second, first.aside(parent.write, story="exec 1")):
        use_journal(child)
        act("/x", number=3)
    ids = [record["id"] for record in records]
    assert ids[::2] == ids[1::2]  # an end has its begin's
    assert len(set(ids)) == len(records) / 2
    assert ids[4] == f"{ids[0]}.1" and ids[6] == f"{ids[2]}.1" and ids[8] == f"{ids[0]}.2"
    assert Journal(parent.write, actor="engine").numbers.stem != parent.numbers.stem


def test_an_argument_without_a_text_is_refused_when_the_op_is_declared() -> None:
    def join(path: str, callback: Iterator[str]) -> None:
        """Join."""

    join.__module__ = "test_journal"
    OF_OP["test_journal.join"] = ("process",)
    with pytest.raises(TypeError, match="no text for callback"):
        op("join(2)", twin=lambda path, callback: "join")(join)
    declared = op("join(2)", twin=lambda path, callback: "join", shown={"callback": repr})(join)
    assert declared.op.written({"path": "/x", "callback": 1}) == {"path": "/x", "callback": "1"}


def test_an_op_that_stands_in_no_table_is_refused() -> None:
    def split() -> None:
        """Split."""

    with pytest.raises(TypeError, match="must say what it isolates"):
        op("split(2)", twin=lambda: "split")(split)


def test_the_table_of_isolation_is_complete_and_holds_nothing_else() -> None:
    there = {each.name for each in all_ops()}
    listed = {name for name in OF_OP if not name.startswith("test_journal.")}
    assert listed == there
    tags = {tag for declared in OF_OP.values() if isinstance(declared, tuple) for tag in declared}
    assert tags <= set(ISOLATION)
    assert set(ISOLATIONS) <= set(ISOLATION), "what --without knows can be found in a journal"
