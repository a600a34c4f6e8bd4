"""What the tests count on of the programs that run them, and of each other: a test can fail."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from support.command import REPOSITORY
from support.source import parsed

TESTS = REPOSITORY / "tests"
FILES = sorted(path for path in TESTS.rglob("*.py") if "fixtures" not in path.parts)


@pytest.mark.xdist_group("kept")
def test_tests_of_a_group_stay_on_one_worker(request: pytest.FixtureRequest) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:  # xdist goes by what it appends to a test's name
        assert request.node.nodeid.endswith("@kept")


def _functions(path: Path) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(parsed(path)) if isinstance(node, ast.FunctionDef)]


def _uses(function: ast.FunctionDef) -> set[str]:
    """What a function calls, or has as a fixture; of methods `raises`, `fail`, `ok` alone."""
    names = {argument.arg for argument in function.args.args}
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            names.add(node.func.id)
        elif isinstance(node, ast.Attribute) and node.attr in ("raises", "fail", "ok"):
            names.add(node.attr)
    return names


def _asserts_itself(function: ast.FunctionDef) -> bool:
    return any(
        isinstance(node, ast.Assert)
        or (isinstance(node, ast.Raise) and "AssertionError" in ast.unparse(node))
        or (isinstance(node, ast.keyword) and ast.unparse(node) == "check=True")
        for node in ast.walk(function)
    )


@cache
def _shared() -> frozenset[str]:
    """The functions of tests/support that assert.

    `fuzz` has no assertion: it lets through what a parser may not raise.
    """
    found = {"raises", "fail", "ok", "fuzz"}
    for path in (TESTS / "support").glob("*.py"):
        functions = [node for node in parsed(path).body if isinstance(node, ast.FunctionDef)]
        found |= {function.name for function in functions if _asserts_itself(function)}
    return frozenset(found)


def _mute(path: Path) -> list[str]:
    """The tests of a file that assert nothing, neither themselves nor by what they call or have."""
    left = _functions(path)
    known = set(_shared())
    while fresh := [f for f in left if _asserts_itself(f) or _uses(f) & known]:
        known |= {function.name for function in fresh}
        left = [function for function in left if function not in fresh]
    return [function.name for function in left if function.name.startswith("test_")]


def test_each_test_asserts_something() -> None:
    """A test that only calls what it is about passes whatever that does, but for an exception."""
    assert [f"{path.name}: {name}" for path in FILES for name in _mute(path)] == []


def test_no_assertion_is_true_whatever_happens() -> None:
    """`assert (x, "words")`, `assert x or True`: a tuple is true, and so is what ends in that."""
    lines = []
    for path in FILES:
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Assert):
                parts = node.test.values if isinstance(node.test, ast.BoolOp) else [node.test]
                if any(isinstance(part, ast.Constant | ast.Tuple | ast.Lambda) for part in parts):
                    lines.append(f"{path.name}:{node.lineno}")
    assert lines == []


def test_a_parametrization_may_not_be_empty(pytestconfig: pytest.Config) -> None:
    """pytest would skip the test; a list that is read from files is empty once they have moved."""
    assert pytestconfig.getini("empty_parameter_set_mark") == "fail_at_collect"


def _pauses(node: ast.AST, *, in_loop: bool = False) -> Iterator[ast.Call]:
    """Calls of time.sleep, but for those of a `while`, which looks for something between them, and
    of a lambda, which stands in for what takes for ever."""
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "time.sleep" and not in_loop:
        yield node
    in_loop = isinstance(node, ast.While | ast.Lambda) or (
        in_loop and not isinstance(node, ast.FunctionDef)
    )
    for child in ast.iter_child_nodes(node):
        yield from _pauses(child, in_loop=in_loop)


def test_a_pause_of_fixed_length_says_what_it_is_for() -> None:
    """Who waits for something looks for it; a comment says why that cannot be, or is the point."""
    mute = []
    for path in FILES:
        lines = path.read_text().splitlines()
        pauses = [pause.lineno for pause in _pauses(parsed(path))]
        mute += [f"{path.name}:{line}" for line in pauses if "  # " not in lines[line - 1]]
    assert mute == []
