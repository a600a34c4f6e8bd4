"""`logs` of what is longer than memory: how much is used is what the kernel says of the process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.command import Minidock, command_line, environment
from support.patience import patience

pytestmark = pytest.mark.root

LINE = b'{"log":"%s\\n","stream":"%s","time":"2024-05-01T12:00:00.123456789Z"}\n'
MUCH, LITTLE = 48 << 20, 1 << 20
MORE_KIB = 6 << 10


def record(text: bytes, stream: bytes = b"stdout") -> bytes:
    return LINE % (text, stream)


# A small process to fork from: the kernel counts what a child had before its execve, too.
MEASURE = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def peak_kib(minidock: Minidock, *arguments: str) -> int:
    """How much memory `minidock logs` had at its most."""
    measured = subprocess.run(
        [sys.executable, "-I", "-S", "-c", MEASURE, *command_line(), "logs", *arguments],
        capture_output=True,
        env=environment(minidock.root),
        check=True,
    )
    return int(measured.stdout)


@pytest.fixture
def log(minidock: Minidock, busybox_image: str) -> Path:
    """The file of a container's log, to be written by the test."""
    identity = minidock.ok("create", "--name", "box", "--net", "none", busybox_image).strip()
    return Path(minidock.root, "containers", identity, "log.json")


def test_a_long_log_takes_no_more_memory_than_a_short_one(minidock: Minidock, log: Path) -> None:
    block = record(b"x" * 8000) * 20 + record(b"y" * 300, b"stderr") * 20
    log.write_bytes(block * (LITTLE // len(block)))
    little = peak_kib(minidock, "box")
    log.write_bytes(block * (MUCH // len(block)))
    assert peak_kib(minidock, "box") < little + MORE_KIB


def test_the_end_of_gigabytes_is_found_from_the_end(minidock: Minidock, log: Path) -> None:
    """A hole of three gigabytes, which reading from the front would take minutes and all memory."""
    with open(log, "wb") as file:
        file.truncate(3 << 30)
        file.seek(0, os.SEEK_END)
        file.write(b"\n" + b"".join(record(b"line %d" % n) for n in range(1000)))
    told = minidock("logs", "-n", "3", "box", timeout_seconds=patience(10))
    assert told.stdout == "line 997\nline 998\nline 999\n"
    assert peak_kib(minidock, "-n", "1000", "box") < 200 << 10


def test_streams_stay_apart_and_in_order(minidock: Minidock, log: Path) -> None:
    pieces = [(b"a", b"stdout"), (b"b", b"stdout"), (b"c", b"stderr"), (b"d", b"stdout")]
    log.write_bytes(b"".join(record(text, stream) for text, stream in pieces))
    told = minidock("logs", "box")
    assert (told.stdout, told.stderr) == ("a\nb\nd\n", "c\n")
    together = subprocess.run(
        [*command_line(), "logs", "-t", "box"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment(minidock.root),
        check=True,
    )
    assert [line.split()[1] for line in together.stdout.splitlines()] == [b"a", b"b", b"c", b"d"]
