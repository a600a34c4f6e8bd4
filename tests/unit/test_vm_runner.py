"""`make vm-test` without a machine: what QEMU does is done by a script."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from types import ModuleType

import pytest

from support.command import REPOSITORY

# Does the job: says something, and leaves a tar with its exit code on the disk "out".
DOES_THE_JOB = """#!/bin/sh
echo started >>{notes}
for word; do case $word in *id=out,file=*) disk=${{word#*file=}}; disk=${{disk%%,*}} ;; esac; done
echo "vm: up"
cd {folder} && echo {code} >code && tar -cf "$disk" code
"""
ENDS_WITHOUT_A_WORD = "#!/bin/sh\necho started >>{notes}\n"
NEVER_ENDS = "#!/bin/sh\necho started >>{notes}\nexec sleep 60\n"


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """tests/vm/run.py, on a tree and an image of the test's own."""
    monkeypatch.syspath_prepend(REPOSITORY / "tests/vm")
    import run

    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "file").touch()
    monkeypatch.setattr(run, "REPOSITORY", tree)
    monkeypatch.setattr(run, "image_of", lambda arch: tmp_path)
    monkeypatch.setenv("MINIDOCK_VM_ACCEL", "tcg")
    return run


def started(
    runner: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    script: str,
    *,
    code: int = 0,
    limit: str = "60",
) -> tuple[int, int]:
    """Run the program with that QEMU; its exit code, and how often QEMU was started."""
    qemu, notes = tmp_path / "qemu", tmp_path / "notes"
    qemu.write_text(script.format(notes=notes, folder=tmp_path, code=code))
    qemu.chmod(0o755)
    machine = sys.modules["machine"]
    native = dataclasses.replace(machine.ARCHITECTURES["amd64"], program=str(qemu))
    monkeypatch.setitem(machine.ARCHITECTURES, "amd64", native)
    monkeypatch.setattr(sys, "argv", ["run.py", "--arch", "amd64", "--limit", limit])
    return runner.main(), len(notes.read_text().splitlines())


@pytest.mark.parametrize("code", [0, 1, 2])
def test_exit_code_is_pytests_and_a_failed_test_is_not_tried_again(
    runner: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: int
) -> None:
    assert started(runner, monkeypatch, tmp_path, DOES_THE_JOB, code=code) == (code, 1)


def test_machine_that_ends_without_a_word_is_tried_once_more(
    runner: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert started(runner, monkeypatch, tmp_path, ENDS_WITHOUT_A_WORD) == (125, 2)


@pytest.mark.slow
def test_machine_that_hangs_is_switched_off(
    runner: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert started(runner, monkeypatch, tmp_path, NEVER_ENDS, limit="0.5") == (125, 2)
