"""The way of a student through labs 00 to 04, typed at a terminal: from `lab start` to 100 points.

What is typed first is what labs/README.md says, in its own words. The files are those of the
solutions: a student who finds them all in one evening.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from minidock.paths import Store
from support.command import REPOSITORY, SOURCE, Minidock, command_line
from support.patience import patience

pytestmark = pytest.mark.root

LABS = REPOSITORY / "labs"
PROMPT, MORE = "student# ", "more> "


class Terminal:
    """A shell at a terminal, in which `minidock` is the one under test."""

    def __init__(self, folder: Path, root: str) -> None:
        (folder / "bin").mkdir()
        launcher = folder / "bin/minidock"
        words = f'PYTHONPATH={shlex.quote(str(SOURCE))} exec {shlex.join(command_line())} "$@"'
        launcher.write_text(f"#!/bin/sh\n{words}\n")
        launcher.chmod(0o755)
        python = Path(sys.executable).parent
        self._shell: pexpect.spawn[str] = pexpect.spawn(
            "bash",
            ["--norc", "--noprofile", "--noediting", "-i"],
            cwd=folder,
            encoding="utf-8",
            timeout=patience(60),
            dimensions=(50, 400),
            env={
                "PATH": f"{folder}/bin:{python}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
                "MINIDOCK_ROOT": root,
                "HOME": str(folder),
                "TERM": "dumb",
                "PS1": PROMPT,
                "PS2": MORE,
            },
        )
        self._shell.delaybeforesend = None  # nothing here asks for a password
        self._shell.expect_exact(PROMPT)

    def type(self, line: str) -> str:
        """Type a line, and read what comes until the shell asks for the next one."""
        self._shell.sendline(line)
        self._shell.expect_exact(PROMPT)
        return (self._shell.before or "").replace("\r\n", "\n").partition("\n")[2]

    def succeeds(self, line: str) -> str:
        """Type a command that has to end with 0."""
        said = self.type(line)
        code = self.type("echo $?").strip()
        assert code == "0", f"{line}: exit code {code}\n{said}"
        return said

    def write(self, name: str, text: str) -> None:
        """Type a file, line by line."""
        self._shell.sendline(f"cat > {name} <<'THE END'")
        for line in text.splitlines():
            self._shell.expect_exact(MORE)
            self._shell.sendline(line)
        self._shell.expect_exact(MORE)
        self.type("THE END")

    def points(self) -> int:
        """What `lab check` gives, here and now."""
        said = self.type("minidock lab check")
        code = self.type("echo $?").strip()
        found = re.search(r": (\d+) of 100 points", said)
        assert found, said
        points = int(found[1])
        assert code == ("0" if points == 100 else "1"), said
        return points

    def leave(self) -> None:
        """Log out, whatever runs."""
        self._shell.close(force=True)


@pytest.fixture
def student(tmp_path: Path, store: Store, busybox_image: str) -> Iterator[Terminal]:
    terminal = Terminal(tmp_path, store.root)
    yield terminal
    terminal.leave()


def solution(lab: str) -> dict[str, str]:
    """The files of a lab's solution."""
    return {path.name: path.read_text() for path in sorted((LABS / lab / "solution").iterdir())}


@pytest.mark.slow
def test_from_the_first_start_to_full_points(student: Terminal) -> None:
    first_day = re.findall(r"```sh\n(.*?)```", (LABS / "README.md").read_text(), re.DOTALL)
    _install, *blocks = first_day
    lines = [line for block in blocks for line in block.splitlines()]
    assert lines[-1] == "minidock lab check"
    for line in lines[:-1]:
        student.succeeds(line)

    # 00: a root
    assert student.points() == 0
    assert "hint:" in student.succeeds("minidock lab hint")
    for name, text in solution("00-chroot").items():
        student.write(name, text)
    assert "bin" in student.succeeds("./box run rootfs ls /").split()
    assert student.points() == 100

    # 01: mounts
    begin(student, "01-mounts")
    for name, text in solution("01-mounts").items():
        student.write(name, text)
    student.succeeds("./box run --tmpfs /tmp rootfs sh -c 'echo mine > /tmp/file'")
    assert student.succeeds("ls rootfs/tmp") == ""
    assert student.points() == 100

    # 02: a file that is spoilt, and got back
    begin(student, "02-pivot-root")
    student.write("root.py", "def inside(box:\n    pass\n")
    assert "SyntaxError" in student.type("./box run rootfs true")
    assert student.points() == 0
    assert "root.py.mine" in student.succeeds("minidock lab reset --force")
    assert "not written yet" in student.type("./box run rootfs true")
    for name, text in solution("02-pivot-root").items():
        student.write(name, text)
    assert student.points() == 100

    # 03: one file after the other, more points after each
    begin(student, "03-processes")
    had = 0
    for name in ("pid.py", "proc.py", "init.py"):
        student.write(name, solution("03-processes")[name])
        points = student.points()
        assert had < points
        had = points
    assert had == 100
    check_by_hand(student, "03-processes")

    # 04: a name
    begin(student, "04-hostname")
    student.write("uts.py", solution("04-hostname")["uts.py"])
    check_by_hand(student, "04-hostname")
    assert student.points() == 100


SHELL_BOX = """#!/bin/sh
# box run ROOTFS COMMAND...: no line of Python, no --init
shift
exec unshare --mount --propagation private --pid --fork --kill-child sh -c '
root=$1; shift
mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
mount --rbind "$root" "$root"
cd "$root" && pivot_root . . && umount -l . && exec chroot . "$@"' sh "$@"
"""


def test_a_box_in_another_language_gets_what_it_does(minidock: Minidock, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "box").write_text(SHELL_BOX)
    (folder / "box").chmod(0o755)
    looked_at = minidock("lab", "check", str(folder), "--lab", "03", "--json")
    items = {item["name"]: item["passed"] for item in json.loads(looked_at.stdout)["items"]}
    lost = {name for name, passed in items.items() if not passed}
    assert lost == {name for name in items if name.startswith("init-")}, str(looked_at)


def check_by_hand(student: Terminal, lab: str) -> None:
    """What the lab's page says to try: it prints what the page says."""
    page = (LABS / lab / "README.md").read_text()
    _, _, section = page.partition("## Check your work")
    block = re.search(r"```console\n(.*?)```", section, re.DOTALL)
    assert block
    for part in block[1].removeprefix("# ").split("\n# "):
        command, _, expected = part.partition("\n")
        assert masked(student.type(command)) == masked(expected), command


def masked(text: str) -> str:
    """Without what differs from run to run: times, names by chance, and the machine's own name."""
    text = re.sub(rf"^(vm|{re.escape(os.uname().nodename)})$", "HOST", text, flags=re.MULTILINE)
    text = re.sub(r"\b[0-9a-f]{12}\b", "ID", text.strip())
    return re.sub(r"\d+\.\d+ ms|\b0:\d+\b", "N", text)


def begin(student: Terminal, lab: str) -> None:
    """The next evening: its folder, and nothing written in it yet."""
    student.succeeds("cd ..")
    assert "ready to begin" in student.succeeds(f"minidock lab start {int(lab[:2])}")
    student.succeeds(f"cd {lab} && ln -s ../rootfs")
    assert student.points() == 0
