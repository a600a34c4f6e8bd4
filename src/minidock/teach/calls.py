"""Find the call sites of an op in the source of minidock.

A call site calls the op, or passes it to a call (`Step(m.pivot_root, …)`, `undo.callback(…)`).
Names are resolved through each file's imports; no code is executed.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import minidock
from minidock.teach.journal_reader import purpose_of_function

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from minidock.kernel.op import Op

SOURCE = Path(minidock.__file__).parent


class CallSite:
    """One call site: module and function as in a journal's phase, file and line."""

    def __init__(self, module: str, function: str, file: Path, line: int) -> None:
        self.module = module
        self.function = function
        self.file = file
        self.line = line

    @property
    def purpose(self) -> str:
        """The purpose of the calling function: the first line of its docstring."""
        return purpose_of_function(self.module, self.function)


def call_sites(op: Op) -> list[CallSite]:
    """List the call sites of an op, sorted by file name."""
    name = op.act.__name__
    module = op.act.__module__.rpartition(".")[2]
    found = []
    for path, text in _sources():
        if name in text and (module in text or path.stem == module):
            wanted = f"{op.act.__module__}.{name}"
            found += [site for full, site in _sites(path) if full == wanted]
    return found


@cache
def _sources() -> list[tuple[Path, str]]:
    views = SOURCE / "teach"
    acting = views / "packet"  # the other views only name ops
    paths = sorted(
        path for path in SOURCE.rglob("*.py") if views not in path.parents or acting in path.parents
    )
    return [(path, path.read_text(encoding="utf-8")) for path in paths]


@cache
def _sites(path: Path) -> list[tuple[str, CallSite]]:
    """The calls in one file: (full name of the callee, call site)."""
    module = ".".join(path.relative_to(SOURCE).with_suffix("").parts)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = dict(_imported(tree))
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            names[node.name] = f"minidock.{module}.{node.name}"
    calls = _Calls(names)
    calls.visit(tree)
    return [(full, CallSite(module, where, path, line)) for full, where, line in calls.found]


def _imported(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """The imports of a file: (name, full name)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield alias.asname or alias.name, f"{node.module}.{alias.name}"


class _Calls(ast.NodeVisitor):
    """Collects callees and function arguments of calls, with the enclosing function.

    found: (full name, function as in co_qualname, line of the call).
    """

    def __init__(self, names: dict[str, str]) -> None:
        self.found: list[tuple[str, str, int]] = []
        self._names = names
        self._enclosing: list[str] = []
        self._inside_function = 0

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        for decorator in node.decorator_list:
            self.visit(decorator)
        if self._inside_function:  # belongs to the enclosing function
            self.generic_visit(node)
            return
        self._enclosing.append(node.name)
        self._inside_function += 1
        for statement in node.body:
            self.visit(statement)
        self._inside_function -= 1
        self._enclosing.pop()

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._enclosing.append(node.name)
        self.generic_visit(node)
        self._enclosing.pop()

    def visit_Call(self, node: ast.Call) -> None:
        for part in (node.func, *node.args, *(k.value for k in node.keywords)):
            full = self._full_name(part)
            if full and self._enclosing:
                self.found.append((full, ".".join(self._enclosing), node.lineno))
            self.visit(part)

    def _full_name(self, node: ast.expr) -> str:
        if isinstance(node, ast.Name):
            return self._names.get(node.id, "")
        if isinstance(node, ast.Attribute) and (base := self._full_name(node.value)):
            return f"{base}.{node.attr}"
        return ""
