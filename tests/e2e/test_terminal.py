"""A full-screen program in a container, and the terminal that is given back as it was."""

from __future__ import annotations

import shlex
import termios
import time
from pathlib import Path

import pexpect
import pytest

from support.command import Minidock, command_line, environment
from support.patience import patience

pytestmark = pytest.mark.root


@pytest.fixture
def shell(minidock: Minidock) -> pexpect.spawn[str]:
    """A shell of the host at a terminal, which knows $D, the command line."""
    child = pexpect.spawn(
        "/bin/sh",
        encoding="utf-8",
        timeout=patience(20),
        dimensions=(24, 80),
        env={**environment(minidock.root), "D": shlex.join(command_line()), "PS1": "host> "},  # type: ignore[arg-type]
    )
    child.expect("host> ")
    return child


def _wait_until_raw(shell: pexpect.spawn[str]) -> None:
    """Until somebody reads single keys from the terminal: what is typed then is for him."""
    deadline = time.monotonic() + patience(20)
    while termios.tcgetattr(shell.child_fd)[3] & termios.ICANON:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_vi_edits_a_file_and_the_terminal_is_given_back(
    shell: pexpect.spawn[str], minidock: Minidock, busybox_image: str, tmp_path: Path
) -> None:
    shell.sendline(f"stty -a > {tmp_path}/before")
    shell.expect("host> ")
    shell.sendline(f"$D run -it --net none --name ed {busybox_image} vi /note")
    shell.expect("- /note")  # vi's own line: what is typed before it has the terminal is lost
    shell.send("iwritten inside\x1b")
    shell.expect(r"- /note \[[Mm]odified")  # the key that ends the text is no beginning of another
    shell.send(":wq\r")
    shell.expect("host> ")
    shell.sendline(f"stty -a > {tmp_path}/after; echo do''ne")
    shell.expect("done")
    assert (tmp_path / "after").read_text() == (tmp_path / "before").read_text()
    minidock.ok("commit", "ed", "edited")
    assert minidock.ok("run", "--rm", "--net", "none", "edited", "cat", "/note") == "written inside"


def test_the_terminal_is_given_back_after_kill_and_after_detaching(
    shell: pexpect.spawn[str], minidock: Minidock, busybox_image: str, tmp_path: Path
) -> None:
    shell.sendline(f"stty -a > {tmp_path}/before")
    shell.expect("host> ")
    shell.sendline(f"$D run -it --net none --name kept {busybox_image} sh")
    shell.expect("# ")
    shell.send("\x10\x11")
    shell.expect("host> ")
    shell.sendline("$D attach kept")
    _wait_until_raw(shell)
    shell.sendline("echo $((6 * 7))")
    shell.expect("42")
    minidock.ok("kill", "kept")
    shell.expect("host> ")
    shell.sendline(f"echo code=$?; stty -a > {tmp_path}/after; echo do''ne")
    shell.expect("code=137")
    shell.expect("done")
    assert (tmp_path / "after").read_text() == (tmp_path / "before").read_text()
