"""Our system call numbers, held against the kernel's own headers of each architecture.

On one machine only its own column can be tried; a wrong number in another would be some other call
there, or a seccomp filter that lets the wrong one through.
"""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path
from types import ModuleType

import pytest

from minidock.kernel import libc, seccomp_filter
from support.syscalls import COLUMNS, from_headers

PROBE = Path(__file__).parents[1] / "support/probe.py"
NEWER = {"setxattrat": 463, "getxattrat": 464, "listxattrat": 465, "removexattrat": 466}  # 6.13


def libc_on(machine: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Another copy of libc.py, as that machine would load it."""
    here = list(os.uname())
    monkeypatch.setattr(os, "uname", lambda: os.uname_result([*here[:4], machine]))
    spec = importlib.util.spec_from_file_location("libc_elsewhere", libc.__file__)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("column", COLUMNS)
def test_the_filter_knows_every_number_of_the_headers(column: str) -> None:
    place = COLUMNS.index(column)
    ours = {
        name: numbers[place]
        for name, numbers in seccomp_filter.syscall_numbers().items()
        if numbers[place] is not None
    }
    bit = 0x40000000 if column == "x32" else 0
    newer = {name: number + bit for name, number in NEWER.items()}
    assert ours == {**from_headers()[column], **newer}


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_we_make_the_calls_that_we_name(machine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    header = from_headers()[{"aarch64": "arm64"}.get(machine, machine)]
    numbers = libc_on(machine, monkeypatch).NUMBERS
    assert numbers == {name: header[name] for name in numbers}


def test_the_probe_of_isolation_makes_one_call_on_both_machines() -> None:
    """Its numbers are literals, beside each other: x86_64's and arm64's."""
    headers = from_headers()
    names = {
        machine: {number: name for name, number in headers[machine].items()}
        for machine in ("x86_64", "arm64")
    }
    pairs = re.findall(r"\bcall\((\d+), (\d+)", PROBE.read_text())
    assert len(pairs) > 60
    differing = [
        (names["x86_64"].get(int(x86)), names["arm64"].get(int(arm)))
        for x86, arm in pairs
        if names["x86_64"].get(int(x86)) != names["arm64"].get(int(arm))
    ]
    assert differing == [("chown", "fchownat")]  # arm64 has no chown
