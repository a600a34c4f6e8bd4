"""Terminals: looked after by `run` and `exec -t`, or sent through --console-socket."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import socket
import struct
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from minidock.paths import Store
from support import runtime
from support.patience import patience
from support.runtime import Bundle, Runtime

pytestmark = pytest.mark.root


@pytest.fixture(params=["minidock-runtime", "runc"])
def either(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    busybox_tar: Path,
    store: Store,
    require: Callable[[str], str],
) -> Iterator[Runtime]:
    require("runc")
    bundle = Bundle(tmp_path / "bundle", busybox_tar)
    words = runtime.minidock_runtime() if request.param == "minidock-runtime" else ["runc"]
    made = Runtime(words, tmp_path / "state", bundle)
    yield made
    made.clear("box")


class Session:
    """A command with a terminal of 33 rows and 101 columns."""

    def __init__(self, made: Runtime, *arguments: str) -> None:
        self.seen = b""
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            self._resize(0, 33, 101)
            os.chdir(made.bundle.directory)
            line = made.line(*arguments)
            os.execvpe(line[0], line, runtime.environment())

    @staticmethod
    def _resize(descriptor: int, rows: int, columns: int) -> None:
        fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def resize(self, rows: int, columns: int) -> None:
        self._resize(self.master, rows, columns)

    def type(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def await_text(self, text: bytes, seconds: float = 20) -> None:
        """Wait until the terminal shows this."""
        deadline = time.monotonic() + patience(seconds)
        while text not in self.seen:
            assert time.monotonic() < deadline, self.seen
            if select.select([self.master], [], [], 0.1)[0]:
                self.seen += os.read(self.master, 4096)

    def end(self) -> int:
        """Its exit code."""
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self.master)
        return code


def _with_terminal(made: Runtime, script: str, **process: object) -> None:
    made.bundle.write(
        "sh", "-c", script, change=lambda c: c["process"].update(terminal=True, **process)
    )


def _size(made: Runtime) -> str:
    """A command that prints the terminal's size: runc sets it only after the command began."""
    late = 'until size=$(stty size 2>&-) && [ -n "$size" ]; do :; done; echo $size'
    return late if made.words == ["runc"] else "stty size"


def test_run_looks_after_the_terminal(either: Runtime) -> None:
    script = f"tty; {_size(either)}; [ -c /dev/console ] && trap 'stty size' WINCH; echo ready; "
    _with_terminal(either, script + "read a; read b; echo got $a$b; exit 5")
    session = Session(either, "run", "box")
    session.await_text(b"ready")
    assert session.seen.split() == [b"/dev/pts/0", b"33", b"101", b"ready"]
    session.resize(40, 90)
    session.await_text(b"40 90")
    session.type(b"one\ntwo\n")
    session.await_text(b"two")
    assert session.end() == 5


def test_a_key_becomes_a_signal_inside(either: Runtime) -> None:
    _with_terminal(either, "trap 'exit 9' INT; echo ready; while :; do sleep 0.1; done")
    session = Session(either, "run", "box")
    session.await_text(b"ready")
    session.type(b"\x03")
    assert session.end() == 9


def test_exec_looks_after_a_terminal(either: Runtime) -> None:
    either.bundle.write("sleep", "60")
    either.ok("run", "--detach", "box")
    script = f"tty; {_size(either)}; read a; exit 6"
    session = Session(either, "exec", "-t", "box", "sh", "-c", script)
    session.await_text(b"33 101")
    assert session.seen.split() == [b"/dev/pts/0", b"33", b"101"]
    session.type(b"\n")
    assert session.end() == 6


def test_the_master_goes_out_through_the_console_socket(either: Runtime, tmp_path: Path) -> None:
    _with_terminal(either, "stty size; sleep 60", consoleSize={"height": 11, "width": 22})
    path = f"/run/console-{os.getpid()}.sock"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        try:
            listening.listen(1)
            either.ok("run", "--detach", "--console-socket", path, "box")
            connection = listening.accept()[0]
        finally:
            os.unlink(path)
    with connection:
        _, descriptors, _, _ = socket.recv_fds(connection, 100, 4)
    assert len(descriptors) == 1
    assert os.read(descriptors[0], 100) == b"11 22\r\n"
    either.ok("delete", "--force", "box")
    os.close(descriptors[0])


def test_a_terminal_needs_a_console_socket_or_the_foreground(either: Runtime) -> None:
    _with_terminal(either, "true")
    assert "cannot allocate tty" in either("create", "box").stderr
    either.bundle.write("true")
    refused = either("create", "--console-socket", "/nonexistent", "box").stderr
    assert "cannot use console socket" in refused
