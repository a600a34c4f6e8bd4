"""At a terminal: shells, window sizes, detaching, Ctrl-C, progress bars and colours."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pexpect
import pytest

from support.command import Minidock, command_line, environment
from support.patience import patience

pytestmark = pytest.mark.root

Terminal = Callable[..., "pexpect.spawn[str]"]


@pytest.fixture
def terminal(minidock: Minidock) -> Terminal:
    """Starts a command on a terminal of 30 rows and 100 columns."""

    def start(*arguments: str) -> pexpect.spawn[str]:
        program, *before = command_line()
        return pexpect.spawn(
            program,
            [*before, *arguments],
            encoding="utf-8",
            timeout=patience(20),
            dimensions=(30, 100),
            env={**environment(minidock.root), "TERM": "xterm"},  # type: ignore[arg-type]
        )

    return start


def ended(child: pexpect.spawn[str]) -> tuple[int | None, str]:
    """Exit code, and the last of what was said."""
    child.expect(pexpect.EOF)
    child.close()
    return child.exitstatus, child.before or ""


def await_connection(pid: int) -> None:
    """Until a command has connected to a monitor: it has started, and waits."""
    deadline = time.monotonic() + patience(20)
    while not has_socket(pid):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def has_socket(pid: int) -> bool:
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            if os.readlink(descriptor).startswith("socket:"):
                return True
        except FileNotFoundError:
            continue  # closed meanwhile
    return False


def test_shell_has_a_terminal_that_follows_the_window(
    terminal: Terminal, busybox_image: str
) -> None:
    shell = terminal("run", "--rm", "-it", "--net", "none", busybox_image, "sh")
    shell.expect("# ")
    shell.sendline("stty size")
    shell.expect("30 100")
    shell.setwinsize(40, 120)
    shell.sendline("until stty size | grep '^40 .*120'; do sleep 0.1; done; tty")
    shell.expect("40 120")
    shell.expect("/dev/pts/0")
    shell.sendline("exit 9")
    assert ended(shell)[0] == 9


def test_detach_keys_leave_the_container_running_and_attach_comes_back(
    terminal: Terminal, minidock: Minidock, busybox_image: str
) -> None:
    shell = terminal("run", "-it", "--net", "none", "--name", "kept", busybox_image, "sh")
    shell.expect("# ")
    shell.send("\x10\x11")  # Ctrl-P Ctrl-Q
    assert ended(shell)[0] == 0
    assert minidock.ok("inspect", "-f", "{{.State.Status}}", "kept") == "running"
    again = terminal("attach", "--detach-keys", "x,y", "kept")
    await_connection(again.pid)
    again.sendline("echo $((6 * 7))")
    again.expect("42\r\n")
    again.send("xy")
    assert ended(again)[0] == 1  # as Docker's; `run` above ends with 0
    minidock.ok("rm", "-f", "kept")


def test_ctrl_c_reaches_the_command_with_and_without_a_terminal(
    terminal: Terminal, busybox_image: str
) -> None:
    script = "trap 'exit 5' INT; echo ready; while :; do sleep 0.1; done"
    for flags in ((), ("-it",)):
        child = terminal("run", "--rm", *flags, "--net", "none", busybox_image, "sh", "-c", script)
        child.expect("ready")
        child.sendintr()
        assert ended(child)[0] == 5


def test_ctrl_c_ends_a_waiting_command_quietly(
    terminal: Terminal, minidock: Minidock, busybox_image: str
) -> None:
    script = "echo ready; exec sleep 1000"
    minidock.ok("run", "-d", "--net", "none", "--name", "busy", busybox_image, "sh", "-c", script)
    following = terminal("logs", "-f", "busy")
    following.expect("ready")
    waiting = terminal("wait", "busy")
    await_connection(waiting.pid)
    for child in (following, waiting):
        child.sendintr()
        code, said = ended(child)
        assert (code, said.replace("^C", "").strip()) == (130, "")
    minidock.ok("rm", "-f", "busy")


def test_exec_gives_a_terminal_of_its_own(
    terminal: Terminal, minidock: Minidock, busybox_image: str
) -> None:
    minidock.ok("run", "-d", "--net", "none", "--name", "host", busybox_image, "sleep", "1000")
    shell = terminal("exec", "-it", "host", "sh")
    shell.expect("# ")
    shell.sendline("stty size; exit 4")
    shell.expect("30 100")
    assert ended(shell)[0] == 4
    minidock.ok("rm", "-f", "host")


def test_load_and_save_show_how_far_they_are(
    terminal: Terminal, minidock: Minidock, busybox_image: str, tmp_path: Path
) -> None:
    archive = str(tmp_path / "busybox.tar")
    code, said = ended(terminal("save", "-o", archive, busybox_image))
    assert code == 0 and "100%" in said and "MB" in said
    minidock.ok("rmi", busybox_image)
    code, said = ended(terminal("load", "-i", archive))
    assert code == 0 and "100%" in said
    assert said.rstrip().endswith(f"Loaded image: {busybox_image}")
    code, said = ended(terminal("load", "-q", "-i", archive))
    assert (code, said) == (0, f"Loaded image: {busybox_image}\r\n")


def test_explain_is_coloured_on_a_terminal_only(
    terminal: Terminal, minidock: Minidock, busybox_image: str
) -> None:
    minidock.ok("run", "--net", "none", "--name", "told", busybox_image, "true")
    assert "\x1b[" in ended(terminal("explain", "told"))[1]
    assert "\x1b" not in minidock.ok("explain", "told")


def test_an_archive_is_not_written_to_a_terminal(terminal: Terminal, busybox_image: str) -> None:
    code, said = ended(terminal("save", busybox_image))
    assert code == 1
    assert "cowardly refusing to save to a terminal" in said
