"""The frame that labs give to students is run as root, on root file systems of strangers.

Python imports modules when they are first needed, and after chroot from where the box has them: a
rootfs with modules of its own would have them run by root, outside of every isolation.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from minidock.teach.lab import folder, sandbox_tree
from support.patience import patience

pytestmark = pytest.mark.root

PYTHON = "/usr/bin/python3"
POISON = 'open("/poisoned", "w").close()\n'
SEAL = "    sys.path.clear()\n    sys.meta_path.clear()\n"
SLIP = "    import tabnanny  # which nobody has imported before\n"


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    """A root file system with busybox, and a poisoned module wherever Python looks for one."""
    top = tmp_path / "rootfs"
    (top / "bin").mkdir(parents=True)
    shutil.copy(sandbox_tree.busybox(), top / "bin/busybox")
    (top / "bin/true").symlink_to("busybox")
    asked = subprocess.run(
        [PYTHON, "-c", "import sys; print(*sys.path[1:], sep='\\n')"],
        capture_output=True, text=True, check=True, env={},
    )  # fmt: skip
    for path in asked.stdout.split():
        if not path.endswith(".zip"):
            (top / path[1:]).mkdir(parents=True, exist_ok=True)
            for name in sys.stdlib_module_names:
                (top / path[1:] / f"{name}.py").write_text(POISON)
    return top


def box(where: Path, lab: str, *, sealed: bool = True, slip: bool = False) -> str:
    """The solution's box in a folder; sealed=False: without what the frame does against imports."""
    files = folder.find(lab).solution()
    if not sealed:
        text = files.text("box")
        assert text.count(SEAL) == 1
        files.put("box", text.replace(SEAL, "").encode(), files.mode("box"))
    if slip:
        text = files.text("process.py")
        place = "    try:\n        os.execvp"
        assert text.count(place) == 1
        files.put("process.py", text.replace(place, SLIP + place).encode())
    where.mkdir()
    files.write(str(where))
    return str(where / "box")


def run(program: str, rootfs: Path, command: str) -> int:
    done = subprocess.run(
        [PYTHON, program, "run", str(rootfs), command],
        timeout=patience(20), check=False, stderr=subprocess.PIPE, env={"PATH": os.defpath},
    )  # fmt: skip
    return done.returncode


@pytest.mark.parametrize("lab", ["00", "02"])
def test_box_runs_no_module_of_a_poisoned_rootfs(lab: str, rootfs: Path, tmp_path: Path) -> None:
    program = box(tmp_path / "lab", lab)
    codes = [run(program, rootfs, command) for command in ("true", "nonsense", "/bin")]
    assert codes == [0, 127, 126]
    assert not (rootfs / "poisoned").exists()


def test_an_import_after_chroot_fails(rootfs: Path, tmp_path: Path) -> None:
    assert run(box(tmp_path / "lab", "00", slip=True), rootfs, "true") == 125
    assert not (rootfs / "poisoned").exists()


def test_without_the_seal_the_import_runs_the_rootfs_module(rootfs: Path, tmp_path: Path) -> None:
    run(box(tmp_path / "lab", "00", slip=True, sealed=False), rootfs, "true")
    assert (rootfs / "poisoned").exists()
