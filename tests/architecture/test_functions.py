"""A function fits on a screen and in a reader's head: 40 lines and a complexity of 15 at most.

The complexity is McCabe's: one, and one more for each branch. It is counted as `radon cc -s` does,
except that a lambda counts only what is in it.
"""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterator

import pytest

from support.command import SOURCE
from support.source import parsed

MOST_LINES, MOST_COMPLEXITY = 40, 15

# file:function -> why it is clearest as it is. A new entry needs a good reason.
EXCEPTIONS = {
    "cli/verbs/system.py:_information": "one literal: Docker's SystemInfo, field by field",
    "runtime/clone.py:create_init": (
        "opens all that init gets, clones it, and closes all of it in the same `try`"
    ),
    "runtime/exec.py:_create_stage": (
        "three processes, each an inner function of the one that clones it: what one closes and "
        "another keeps is seen at once"
    ),
    "teach/lab/enter_sandbox.py:enter": (
        "the acts of two processes, in the order that the kernel asks for, over the same arguments"
    ),
}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, Function]]:
    """Every function of a module by its qualified name, such as "Class.method" or "outer.inner"."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, Function):
            yield f"{prefix}{node.name}", node
        if isinstance(node, Function | ast.ClassDef):
            yield from functions(node, f"{prefix}{node.name}.")
        else:
            yield from functions(node, prefix)


def lines_of(function: Function) -> int:
    """The lines from `def` to the end, without the docstring; nested functions are included."""
    has_docstring = ast.get_docstring(function) is not None
    return _height(function) - (_height(function.body[0]) if has_docstring else 0)


def _height(node: ast.stmt) -> int:
    assert node.end_lineno is not None
    return node.end_lineno - node.lineno + 1


def complexity_of(function: ast.AST) -> int:
    """The cyclomatic complexity; nested functions and classes are counted separately."""
    branches = 1
    waiting = list(ast.iter_child_nodes(function))
    while waiting:
        node = waiting.pop()
        if isinstance(node, Function | ast.ClassDef):
            continue
        branches += _branches_of(node)
        waiting += ast.iter_child_nodes(node)
    return branches


def _branches_of(node: ast.AST) -> int:
    match node:
        case ast.If() | ast.IfExp() | ast.Assert() | ast.match_case():
            return 1
        case ast.For() | ast.AsyncFor() | ast.While():
            return 1 + bool(node.orelse)
        case ast.Try():
            return len(node.handlers) + bool(node.orelse)
        case ast.BoolOp():
            return len(node.values) - 1
        case ast.comprehension():
            return 1 + len(node.ifs)
    return 0


FUNCTIONS = {
    f"{path.relative_to(SOURCE / 'minidock')}:{name}": function
    for path in sorted((SOURCE / "minidock").rglob("*.py"))
    for name, function in functions(parsed(path))
}


def _is_too_large(function: Function) -> bool:
    return lines_of(function) > MOST_LINES or complexity_of(function) > MOST_COMPLEXITY


def test_no_function_is_too_long_or_too_complex() -> None:
    large = {
        name: f"{lines_of(function)} lines, complexity {complexity_of(function)}"
        for name, function in FUNCTIONS.items()
        if name not in EXCEPTIONS and _is_too_large(function)
    }
    assert not large, "split it by meaning: a function named for what it decides or does"


def test_the_exceptions_are_few_and_needed() -> None:
    assert len(EXCEPTIONS) <= 10
    small = [name for name in EXCEPTIONS if not _is_too_large(FUNCTIONS[name])]
    assert not small, "these are small now: take them off EXCEPTIONS"


@pytest.mark.parametrize(
    ("body", "complexity"),
    [
        ("return 1", 1),
        ("if a and b or c:\n    pass\nelif d:\n    pass", 5),
        ("for x in y:\n    pass\nelse:\n    pass", 3),
        ("while a:\n    b = 1 if c else 2", 3),
        ("try:\n    pass\nexcept A:\n    pass\nexcept B:\n    pass\nfinally:\n    pass", 3),
        ("with a:\n    assert b", 2),
        ("return [x for y in z if a if b for x in y]", 5),
        ("match a:\n    case 1:\n        pass\n    case _:\n        pass", 3),
        ("def inner():\n    if a:\n        pass", 1),
        ("return lambda x: x or a", 2),
    ],
)
def test_complexity_is_counted(body: str, complexity: int) -> None:
    source = f"def f():\n{textwrap.indent(body, '    ')}"
    (function, *_) = [node for _, node in functions(ast.parse(source))]
    assert complexity_of(function) == complexity


def test_lines_are_counted_without_the_docstring() -> None:
    source = """
class C:
    @decorated
    def f(self):
        '''Do it.

        More.
        '''
        return 1
"""
    ((name, function),) = functions(ast.parse(source))
    assert (name, lines_of(function)) == ("C.f", 2)
