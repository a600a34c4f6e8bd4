"""The layers of docs/architecture.md, and the ten-second test: each syscall has one home."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from minidock.kernel import libc
from support.command import REPOSITORY, SOURCE
from support.source import parsed

# System calls that two files make, and why.
TWO_HOMES = {
    "move_mount": "an overlay and a cloned tree are both attached by it",
    "prctl": "one number for fifty calls: capabilities have theirs, processes theirs",
}

MODULES = sorted((SOURCE / "minidock").rglob("*.py"))


def _name(path: Path) -> str:
    return str(path.relative_to(SOURCE / "minidock"))


def test_a_layer_imports_only_what_stands_below_it() -> None:
    linter = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run(
        [linter],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_system_call_is_made_in_one_file_of_the_kernel_layer() -> None:
    made_in: dict[str, set[str]] = defaultdict(set)
    for path in MODULES:
        for node in ast.walk(parsed(path)):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name | ast.Attribute)
                and (node.func.id if isinstance(node.func, ast.Name) else node.func.attr)
                == "syscall"
                and node.args
                and isinstance(node.args[0], ast.Constant)
            ):
                made_in[str(node.args[0].value)].add(_name(path))
    assert made_in, "no call of libc.syscall found: has it been renamed?"
    scattered = {
        name: files for name, files in made_in.items() if len(files) > 1 + (name in TWO_HOMES)
    }
    assert not scattered
    outside = {n: f for n, f in made_in.items() if not all(x.startswith("kernel/") for x in f)}
    assert not outside
    unknown = set(made_in) - set(libc.NUMBERS)
    assert not unknown


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def private_names_used(source: str) -> list[str]:
    """Private names of other modules of minidock that a module imports, or takes from one."""
    imported: set[str] = set()
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("minidock"):
            imported |= {alias.asname or alias.name for alias in node.names}
            found += [alias.name for alias in node.names if _is_private(alias.name)]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and _is_private(node.attr):
            owner = node.value
            while isinstance(owner, ast.Attribute):
                owner = owner.value
            if isinstance(owner, ast.Name) and owner.id in imported:
                found.append(ast.unparse(node))
    return found


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_no_module_uses_a_private_name_of_another(path: Path) -> None:
    assert private_names_used(path.read_text()) == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from minidock.runtime.seal import _seal", ["_seal"]),
        ("from minidock.runtime import seal\nseal._seal()", ["seal._seal"]),
        ("from minidock.engine import m\nm.Monitor._start", ["m.Monitor._start"]),
        ("from minidock.runtime import seal as s\ndef f():\n    s._seal()", ["s._seal"]),
        ("import _socket\nfrom minidock.kernel import op\nop.__doc__, self._own", []),
    ],
)
def test_a_private_name_is_found(source: str, found: list[str]) -> None:
    assert private_names_used(source) == found


def test_nothing_below_the_command_line_prints() -> None:
    talkers = []
    for path in MODULES:
        if _name(path).startswith(
            (
                "cli/",
                "__main__",
                "runtime/__main__",
                "runtime/container_commands",
                "runtime/create_commands",
            )
        ):
            continue
        for node in ast.walk(parsed(path)):
            if not isinstance(node, ast.Call) or getattr(node.func, "id", "") != "print":
                continue
            if not any(keyword.arg == "file" for keyword in node.keywords):
                talkers.append(f"{_name(path)}:{node.lineno}")
    assert not talkers


# --- sizes: a lecturer projects a file (and a student reads a function: test_functions.py) --------

# Files over 400 lines need a reason, here. (250 is what we aim at.)
LONG_FILES = {
    "teach/without/probes.py": "each attempt on an isolation, by a process that imports nothing",
    "kernel/link.py": "each act on links and routes, with its twin and what it is good for",
    "cli/output/template/parse.py": "one grammar: Go's templates as docker's users write them",
    "kernel/cgroup.py": "one interface for v1 and v2, with the ops that both write through",
}


def test_a_long_file_has_a_reason() -> None:
    sizes = {_name(p): len(p.read_text().splitlines()) for p in MODULES}
    long = {name: size for name, size in sizes.items() if size > 400 and name not in LONG_FILES}
    assert not long
    stale = [name for name in LONG_FILES if sizes.get(name, 0) <= 400]
    assert not stale, "these are short now: take them off LONG_FILES"


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_module_opens_with_a_docstring(path: Path) -> None:
    docstring = ast.get_docstring(parsed(path))
    assert docstring or not path.read_text().strip(), f"{_name(path)} does not say what it does"
