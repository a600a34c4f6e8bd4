"""Trees are removed in one place, store/tree_removal.py; it refuses what is not minidock's own."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from support.command import SOURCE
from support.source import parsed

HOME = "engine/store/tree_removal.py"
REMOVERS = {"rmtree", "removedirs", "TemporaryDirectory"}

# Who else empties or unmakes directories, and why it cannot be another's.
ONE_DIRECTORY = {
    "engine/image/unpack.py": "in the chroot of the process that unpacks an archive",
    "kernel/cgroup.py": "cgroups, in which rmdir(2) removes nothing but groups",
    "teach/lab/quiz/files.py": "a command that a quiz has its container run",
    "teach/script/frame.sh": "a script that people read: it removes what its own mktemp made",
}


def calls(tree: ast.AST) -> set[str]:
    return {
        node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute | ast.Name)
    }


def modules() -> list[Path]:
    return sorted((SOURCE / "minidock").rglob("*.py"))


def test_one_module_removes_trees() -> None:
    found = {
        str(path.relative_to(SOURCE / "minidock")): names
        for path in modules()
        if (names := calls(parsed(path)) & REMOVERS)
    }
    assert not found, f"use minidock.engine.store.tree_removal: {found}"


def test_no_module_walks_a_tree_to_delete_it() -> None:
    both = {"walk", "rmdir"}, {"walk", "unlink"}
    found = {
        str(path.relative_to(SOURCE / "minidock"))
        for path in modules()
        if any(pair <= calls(parsed(path)) for pair in both)
    }
    assert found - {HOME, *ONE_DIRECTORY} == set()


def test_no_command_removes_a_tree() -> None:
    recursive = re.compile(r"\brm\s+(-\w*[rR]\w*|--recursive)\b|\bfind\b.*\s-delete\b")
    found = {
        str(path.relative_to(SOURCE / "minidock"))
        for path in (SOURCE / "minidock").rglob("*")
        if path.suffix in (".py", ".sh", "") and path.is_file() and recursive.search(_code(path))
    }
    assert found <= {*ONE_DIRECTORY}


def _code(path: Path) -> str:
    """A file's text; a module's without its docstrings and comments, which may explain `rm -r`."""
    text = path.read_text(errors="replace")
    if path.suffix != ".py":
        return text
    tree = ast.parse(text)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and _is_text(body[0]):
            body[0] = ast.Pass()
    return ast.unparse(tree)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
