"""Every op says what it is: a why, a man page, and a twin that takes the same arguments."""

from __future__ import annotations

import inspect
import re

import pytest

from minidock.kernel.op import REGISTRY, Op
from minidock.teach.calls import call_sites
from minidock.teach.journal_reader import purpose_of_module
from minidock.teach.op_page import WITHOUT, pieces
from support.catalogue import ops

OPS = sorted(ops(), key=lambda op: op.name)

each_op = pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)


def test_there_are_ops() -> None:
    assert {"mount.pivot_root", "namespace.clone_process"} <= set(REGISTRY)


@each_op
def test_op_has_a_why(op: Op) -> None:
    assert len(op.why) > 10, f"{op.name} has no docstring for a student"
    assert op.why.endswith("."), f"the first line is one sentence: {op.why!r}"


@each_op
def test_op_says_what_goes_wrong_without_it(op: Op) -> None:
    told = [text for kind, text in pieces(op) if kind == WITHOUT]
    assert len(told) == 1, f'{op.name}: its docstring wants one paragraph "Without it: …"'
    assert re.match(r"Without it: \S.*\.$", told[0]) and len(told[0]) > 30, told[0]


@each_op
def test_op_is_called_from_somewhere(op: Op) -> None:
    assert call_sites(op)


@each_op
def test_every_caller_of_an_op_states_a_purpose(op: Op) -> None:
    """These sentences are explain's, which tells each op below the function that called it."""
    mute = [f"{s.module}.{s.function}" for s in call_sites(op) if not s.purpose]
    assert not mute, "a function that calls an op has a docstring"
    assert all(purpose_of_module(site.module) for site in call_sites(op))


@each_op
def test_op_names_a_man_page(op: Op) -> None:
    assert re.fullmatch(r"[a-zA-Z0-9_.+-]+\([1-9][a-z]?\)", op.man), op.man


@each_op
def test_twin_has_the_signature_of_its_op(op: Op) -> None:
    ours = list(inspect.signature(op.act).parameters.values())
    twins = list(inspect.signature(op.twin).parameters.values())
    assert [(p.name, p.kind, p.default) for p in ours] == [
        (p.name, p.kind, p.default) for p in twins
    ]
