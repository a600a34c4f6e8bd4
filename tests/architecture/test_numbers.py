"""Who may turn a text into a number by Python's own means, which take every script's digits."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from support.source import parsed

SOURCE = Path(__file__).parents[2] / "src/minidock"

# Modules that read what comes from outside, and how often they call int() and float() on a number,
# or on a text that `is_decimal` or a pattern has let through. Others read the kernel's own files.
OUTSIDE = (
    "cli/", "oci/", "engine/dockerfile/", "engine/build/", "engine/registry/", "engine/network/",
    "engine/container/user.py", "signals.py", "engine/container/own_layer.py",
    "engine/monitor/json_file_log.py", "runtime/arguments.py", "runtime/container_commands.py",
)  # fmt: skip
LOOKED_AT = 106


def _calls(path: Path, names: set[str]) -> Iterator[ast.Call]:
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else ""
            called = node.func.id if isinstance(node.func, ast.Name) else called
            if called in names:
                yield node


def _modules() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def test_only_numerals_asks_whether_a_text_is_a_number() -> None:
    allowed = {
        "teach/packet/listeners.py",  # the kernel's own names, in /proc
        "teach/packet/target.py",  # with isascii() before it
        "numerals.py",
        "oci/tar_header.py",  # bytes: theirs are ASCII's alone
        "engine/dockerfile/word_expansion.py",  # names of variables, by Go's unicode.IsDigit
    }
    found = {
        str(path.relative_to(SOURCE))
        for path in _modules()
        if any(_calls(path, {"isdigit", "isdecimal", "isnumeric"}))
    }
    assert found <= allowed


def test_no_new_place_reads_numbers_from_outside_by_int() -> None:
    found = [
        f"{path.relative_to(SOURCE)}:{call.lineno}"
        for path in _modules()
        if str(path.relative_to(SOURCE)).startswith(OUTSIDE)
        for call in _calls(path, {"int", "float"})
        if isinstance(call.func, ast.Name) and call.args
    ]
    assert len(found) <= LOOKED_AT, found


def test_patterns_spell_digits_out() -> None:
    r"""A \d of a pattern for text takes every script's digits."""
    found = [
        f"{path.relative_to(SOURCE)}:{number}: {line}"
        for path in _modules()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if "\\d" in line.partition("  # ")[0] and re.search(r"\bre\.|^_[A-Z]|\(\?P", line)
    ]
    assert not found
