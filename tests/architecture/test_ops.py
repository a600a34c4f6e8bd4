"""Every op says what it is: a why, a man page, and a twin that takes the same arguments."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re

import pytest

import minidock.kernel
from minidock.kernel.op import REGISTRY, Op

for _module in pkgutil.iter_modules(minidock.kernel.__path__):
    importlib.import_module(f"minidock.kernel.{_module.name}")
OPS = sorted(REGISTRY.values(), key=lambda op: op.name)

each_op = pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)


def test_there_are_ops() -> None:
    assert {"mount.pivot_root", "namespace.clone_process"} <= set(REGISTRY)


@each_op
def test_op_has_a_why(op: Op) -> None:
    assert len(op.why) > 10, f"{op.name} has no docstring for a student"
    assert op.why.endswith("."), f"the first line is one sentence: {op.why!r}"


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
