"""Streams that are full in both directions, readers that do not read, commands that are stopped.

A pipe holds 64 KiB, a socket some hundred more, and each side of a connection half a megabyte: what
goes through here is more than all of them together, so whoever waits in one direction waits for
ever. With MINIDOCK_LONG=1 it is 200 MB, twenty times.
"""

from __future__ import annotations

import hashlib
import os
import pty
import select
import signal
import socket
import subprocess
import termios
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.command import Minidock, command_line, environment
from support.engine import Engine
from support.patience import long, patience

pytestmark = pytest.mark.root

SIZE_BYTES = long(8_000_000, 200_000_000)
TIMES = long(1, 20)
LINE_BYTES = 64
STDIN_UNREAD = "trap 'exit 5' TERM; yes & wait"


@pytest.fixture(scope="module")
def lines() -> bytes:
    """Lines that gzip does not make much shorter, each another one."""
    half = LINE_BYTES // 2 - 1
    block = b"".join(os.urandom(half).hex().encode() + b"-\n" for _ in range(4096))
    count = SIZE_BYTES // len(block) + 1
    return b"".join(b"%07d" % n + block[7:] for n in range(count))[: SIZE_BYTES // 64 * 64]


@pytest.fixture
def running(engine: Engine) -> Engine:
    """With a container it that does nothing."""
    engine.ok("run", "-d", "--network", "none", "--name", "it", "box", "sleep", "100000")
    return engine


def _feed(sink: int, data: bytes) -> threading.Thread:
    """Write it all, and close, while the caller reads."""

    def write() -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(sink, view[: 1 << 20]) :]
        except BrokenPipeError:
            pass  # the command has ended: what it said tells more
        os.close(sink)

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    return thread


def _same(said: bytes, expected: bytes) -> bool:
    """Without pytest's explanation of how eight megabytes differ."""
    return said == expected


PROGRAMS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "cat": ("cat", lambda said: said),
    "gzip": ("gzip -c", lambda said: zlib.decompress(said, wbits=31)),
    "tac": ("tac", lambda said: b"".join(reversed(said.splitlines(keepends=True)))),
}


@pytest.mark.parametrize("how", ["exec", "run"])
@pytest.mark.parametrize("program", ["cat", "gzip", "tac"])
@pytest.mark.timeout(60)
def test_much_goes_in_while_much_comes_out(
    engine: Engine, lines: bytes, program: str, how: str
) -> None:
    words, undone = PROGRAMS[program]
    start = ["run", "-i", "--rm", "--network", "none", "box"]
    if how == "exec":
        engine.ok("run", "-d", "--network", "none", "--name", "it", "box", "sleep", "100000")
        start = ["exec", "-i", "it"]
    for _ in range(TIMES):
        process = engine.start(*start, *words.split(), stdin=subprocess.PIPE)
        assert process.stdin and process.stdout
        writer = _feed(os.dup(process.stdin.fileno()), lines)
        process.stdin.close()
        said = process.stdout.read()
        assert process.wait(patience(20)) == 0
        writer.join(patience(20))
        assert _same(undone(said), lines)


def test_what_nobody_reads_is_not_taken_in_and_not_lost(running: Engine, lines: bytes) -> None:
    """Back-pressure from our stdout, by way of the container, to our stdin."""
    process = running.start("exec", "-i", "it", "cat", stdin=subprocess.PIPE)
    assert process.stdin and process.stdout
    sink = process.stdin.fileno()
    os.set_blocking(sink, False)
    view = memoryview(lines)
    while view and select.select([], [sink], [], patience(1))[1]:
        view = view[os.write(sink, view[:65536]) :]
    assert 65536 < len(lines) - len(view) < 6_000_000
    os.set_blocking(sink, True)
    _feed(os.dup(sink), bytes(view))
    process.stdin.close()
    assert _same(process.stdout.read(), lines)
    assert process.wait(patience(20)) == 0


def test_sockets_carry_as_much_as_pipes(running: Engine, lines: bytes) -> None:
    ours, theirs = socket.socketpair()
    process = running.start("exec", "-i", "it", "cat", stdin=theirs, stdout=theirs)
    theirs.close()
    writer = threading.Thread(target=lambda: (ours.sendall(lines), ours.shutdown(socket.SHUT_WR)))
    writer.start()
    said = bytearray()
    while data := ours.recv(1 << 20):
        said += data
    writer.join(patience(20))
    ours.close()
    assert _same(bytes(said), lines)
    assert process.wait(patience(20)) == 0


def test_two_attached_commands_get_all_of_it(engine: Engine) -> None:
    engine.ok(
        "run", "-d", "-i", "--network", "none", "--name", "it", "box",
        "sh", "-c", "read x; seq 400000; read x",
    )  # fmt: skip
    commands = [
        engine.start("attach", "it", stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    heard: list[bytes] = [b"", b""]

    def read(number: int) -> None:
        stdout = commands[number].stdout
        assert stdout
        heard[number] = stdout.read()

    readers = [threading.Thread(target=read, args=(number,)) for number in range(2)]
    for reader in readers:
        reader.start()
    time.sleep(1.5)  # docker does not say when a command is attached
    for command in commands:
        assert command.stdin
        command.stdin.write(b"\n")
        command.stdin.flush()
    for command, reader in zip(commands, readers, strict=True):
        assert command.wait(patience(30)) == 0
        reader.join(patience(10))
    expected = b"".join(b"%d\n" % n for n in range(1, 400001))
    assert [_same(each, expected) for each in heard] == [True, True]


@pytest.mark.parametrize("how", ["exec", "run"])
@pytest.mark.parametrize("to", ["closed pipe", "/dev/full"])
def test_stdout_that_takes_no_more_ends_the_command(engine: Engine, how: str, to: str) -> None:
    """docker's exit codes: run says what is wrong; exec ends by SIGPIPE, as a filter does."""
    program = ["sh", "-c", "while :; do echo hello || exit; done"]
    start = ["run", "--name", "it", "--network", "none", "box", *program]
    if how == "exec":
        engine.ok("run", "-d", "--network", "none", "--name", "it", "box", "sleep", "100000")
        start = ["exec", "it", *program]
    with open("/dev/full", "wb") as full:
        stdout = full if to == "/dev/full" else subprocess.PIPE
        process = engine.start(*start, stdout=stdout, stderr=subprocess.PIPE)
    assert process.stderr
    if process.stdout:
        process.stdout.read(6)
        process.stdout.close()
    said = process.stderr.read().decode()
    code = process.wait(patience(20))
    if (how, to) == ("exec", "closed pipe"):
        assert (code if code > 0 else 128 - code) == 128 + signal.SIGPIPE
    else:
        why = "broken pipe" if to == "closed pipe" else "no space left on device"
        assert (code, f"write /dev/stdout: {why}" in said) == (1, True), said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_an_exec_whose_streams_are_all_full(
    running: Engine, number: signal.Signals
) -> None:
    with open("/dev/zero", "rb") as zero:
        process = running.start("exec", "-i", "it", "sh", "-c", "yes & sleep 600", stdin=zero)
    _await_full(process)
    process.send_signal(number)
    code = process.wait(patience(10))
    assert (code if code > 0 else 128 - code) == 128 + number


def test_a_signal_reaches_a_container_whose_streams_are_all_full(
    minidock: Minidock, busybox_image: str
) -> None:
    """Our stdin is more than it reads, its stdout more than we read; docker's waits here."""
    with open("/dev/zero", "rb") as zero:
        process = _start(
            minidock, "run", "-i", "--name", "it", "--net", "none", busybox_image,
            "sh", "-c", STDIN_UNREAD, stdin=zero,
        )  # fmt: skip
    assert process.stdout
    _await_full(process)
    process.terminate()
    said = process.stdout.read()
    assert process.wait(patience(20)) == 5
    assert len(said) > 100_000


def _start(minidock: Minidock, *arguments: str, **popen: object) -> subprocess.Popen[bytes]:
    return Engine(command_line(), environment(minidock.root)).start(*arguments, **popen)


def _await_full(process: subprocess.Popen[bytes]) -> None:
    """Until the pipe that is its stdout holds something, and then no more for a while."""
    assert process.stdout
    deadline = time.monotonic() + patience(20)
    held, since = 0, time.monotonic()
    while time.monotonic() - since < 0.5 or not held:
        assert time.monotonic() < deadline
        time.sleep(0.05)
        now = _held(process.stdout.fileno())
        if now != held:
            held, since = now, time.monotonic()


def _held(pipe: int) -> int:
    """How many bytes a pipe holds."""
    import fcntl

    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), "little")


@pytest.fixture
def frozen(minidock: Minidock, busybox_image: str) -> Iterator[subprocess.Popen[bytes]]:
    """A command at a container it that talks without end; the command is stopped, and full."""
    process = _start(
        minidock, "run", "--name", "it", "--net", "none", busybox_image,
        "sh", "-c", "i=0; while :; do i=$((i+1)); echo line $i; done",
    )  # fmt: skip
    assert process.stdout
    process.stdout.read(10)
    process.send_signal(signal.SIGSTOP)
    yield process
    process.kill()
    process.wait()


def test_a_stopped_command_stops_nobody_else(
    frozen: subprocess.Popen[bytes], minidock: Minidock, lines: bytes
) -> None:
    log = Path(minidock.ok("inspect", "--format", "{{.LogPath}}", "it"))
    _await_quiet(log)
    assert minidock.ok("exec", "it", "echo", "hello") == "hello"
    assert minidock.ok("logs", "--tail", "1", "it").startswith("line ")
    process = _start(minidock, "exec", "-i", "it", "cat", stdin=subprocess.PIPE)
    assert process.stdin and process.stdout
    _feed(os.dup(process.stdin.fileno()), lines)
    process.stdin.close()
    assert _same(process.stdout.read(), lines)
    started = time.monotonic()
    minidock.ok("stop", "-t", "1", "it", timeout_seconds=30)
    assert time.monotonic() - started < patience(15)
    assert minidock.ok("inspect", "--format", "{{.State.Status}}", "it") == "exited"


def test_a_stopped_command_gets_all_when_it_goes_on_after_the_end(
    frozen: subprocess.Popen[bytes], minidock: Minidock
) -> None:
    """And the log has the same: nothing is lost on either way."""
    assert frozen.stdout
    _await_quiet(Path(minidock.ok("inspect", "--format", "{{.LogPath}}", "it")))
    minidock.ok("stop", "-t", "0", "it", timeout_seconds=30)
    frozen.send_signal(signal.SIGCONT)
    said = b"line 1\nlin" + frozen.stdout.read()
    assert frozen.wait(patience(20)) == 137
    assert _same(minidock("logs", "it").stdout.encode(), said)
    assert len(said) > 500_000


def _await_quiet(log: Path) -> None:
    """Until the container waits: its log does not grow any more, as docker's does not."""
    deadline = time.monotonic() + patience(30)
    size = -1
    while size != (size := log.stat().st_size):
        assert time.monotonic() < deadline
        time.sleep(0.7)


def test_the_callers_descriptors_keep_their_flags_also_after_kill_9(
    minidock: Minidock, busybox_image: str
) -> None:
    reading, writing = os.pipe()
    source, typed = os.pipe()
    process = _start(
        minidock, "run", "-i", "--name", "it", "--net", "none", busybox_image, "yes",
        stdout=writing, stdin=source,
    )  # fmt: skip
    os.read(reading, 10)
    flags = [os.get_blocking(each) for each in (source, writing)]
    process.kill()
    process.wait()
    flags += [os.get_blocking(each) for each in (source, writing)]
    for each in (reading, writing, source, typed):
        os.close(each)
    assert flags == [True] * 4


class Terminal:
    """A command at a terminal of its own; all that it shows is read and dropped."""

    def __init__(self, engine: Engine, *arguments: str) -> None:
        self.master, theirs = pty.openpty()
        self.process = engine.start(*arguments, stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        self.shown = b""
        os.set_blocking(self.master, False)

    def type(self, data: bytes) -> None:
        """Type it as fast as it is taken."""
        deadline = time.monotonic() + patience(30)
        while data:
            assert time.monotonic() < deadline, self.shown[-300:]
            reads, writes, _ = select.select([self.master], [self.master], [], 1)
            if reads:
                self._read()
            if writes:
                data = data[os.write(self.master, data[:1024]) :]

    def await_text(self, text: bytes) -> None:
        deadline = time.monotonic() + patience(30)
        while text not in self.shown:
            assert time.monotonic() < deadline, self.shown[-300:]
            if select.select([self.master], [], [], 1)[0]:
                self._read()

    def _read(self) -> None:
        try:
            self.shown += os.read(self.master, 65536)
        except OSError:
            pass  # the command has ended

    def end(self) -> int:
        deadline = time.monotonic() + patience(20)
        while self.process.poll() is None:
            assert time.monotonic() < deadline, self.shown[-300:]
            if select.select([self.master], [], [], 0.1)[0]:
                self._read()
        os.close(self.master)
        return self.process.wait()


PASTE = bytes(range(0x20, 0x7F)) * 3000


def test_a_large_paste_arrives_whole(engine: Engine) -> None:
    """Beyond what a terminal holds, at a program that reads it slowly and echoes it."""
    terminal = Terminal(
        engine, "run", "-it", "--rm", "--network", "none", "box",
        "sh", "-c", f"stty raw -echo; echo rea''dy; head -c {len(PASTE)} | md5sum",
    )  # fmt: skip
    terminal.await_text(b"ready")
    terminal.type(PASTE)
    terminal.await_text(hashlib.md5(PASTE).hexdigest().encode())
    assert terminal.end() == 0


def test_keys_that_detach_in_the_middle_of_a_paste_end_only_the_command(engine: Engine) -> None:
    terminal = Terminal(
        engine, "run", "-it", "--network", "none", "--name", "it", "box",
        "sh", "-c", f"stty raw -echo; echo rea''dy; head -c {len(PASTE)} >/got; sleep 100000",
    )  # fmt: skip
    terminal.await_text(b"ready")
    terminal.type(PASTE + b"\x10\x11")
    assert terminal.end() == 0
    assert engine.status() == "running"
    deadline = time.monotonic() + patience(20)
    expected = hashlib.md5(PASTE).hexdigest()
    while engine.ok("exec", "it", "md5sum", "/got").split()[0] != expected:
        assert time.monotonic() < deadline
        time.sleep(0.1)
