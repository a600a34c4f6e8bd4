"""git from a server that is silent, or drips: given up with one error, and nothing is left."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from minidock.engine.build import context_remote, git
from minidock.errors import MinidockError
from support.dripping import serving
from support.patience import patience

pytestmark = pytest.mark.skipif(not shutil.which("git"), reason="git is not here")

LIMIT_SECONDS = 1.5
PACKET_OF_65516_BYTES = b"fff0"  # of git's protocol; what is in it drips


@contextmanager
def server(at_once: bytes, drip: bytes, seen: list[str] | None = None) -> Iterator[str]:
    """A server that accepts, says the first words, and repeats the others, slowly, until the end
    of the block or for a minute: "127.0.0.1:PORT". seen: gets a word for each connection."""
    ended = threading.Event()

    def answer(connection: socket.socket) -> None:
        if seen is not None:
            seen.append("connection")
        with contextlib.suppress(OSError), connection:
            connection.sendall(at_once)
            until = time.monotonic() + 60
            while time.monotonic() < until and not ended.wait(0.1):
                connection.sendall(drip)

    with serving(answer) as host:
        try:
            yield host
        finally:
            ended.set()


def of_folder(folder: Path) -> list[str]:
    """The command lines of all processes that say this folder, or its server, in them."""
    found = []
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
            if str(folder) in words and int(pid) != os.getpid():
                found.append(words.replace("\0", " "))
    return found


def await_none(folder: Path, *words: str) -> list[str]:
    """The processes that are there still, after some time."""
    deadline = time.monotonic() + patience(5)
    while left := [line for each in (folder, *map(Path, words)) for line in of_folder(each)]:
        if time.monotonic() > deadline:
            return left
        time.sleep(0.02)
    return []


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A git that waits shortly, of a user without settings."""
    monkeypatch.setattr(git, "SLOW_SECONDS", LIMIT_SECONDS)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("how", ["silent", "drips"])
@pytest.mark.parametrize("scheme", ["git", "ssh", "http"])
def test_a_server_that_keeps_git_waiting_is_given_up(
    tmp_path: Path, impatient: None, scheme: str, how: str
) -> None:
    if scheme == "ssh" and not shutil.which("ssh"):
        pytest.skip("ssh is not here")
    at_once = {"git": PACKET_OF_65516_BYTES, "ssh": b"", "http": b"HTTP/1.1 200 OK\r\nX: "}[scheme]
    drip = b"\r\na" if scheme == "ssh" else b"a"  # lines before its version's are allowed
    folder = tmp_path / "context"
    seen: list[str] = []
    began = time.monotonic()
    with server(*((b"", b"") if how == "silent" else (at_once, drip)), seen) as host:
        with pytest.raises(git.TooSlow, match=r"the server is too slow: less than 1000 B/s"):
            context_remote.clone(f"{scheme}://{host}/r.git", str(folder), keep_git=False)
        assert time.monotonic() - began < patience(4 * LIMIT_SECONDS)
        assert len(seen) == 1, "the same server was asked again"
        assert await_none(folder, host, host.rpartition(":")[2]) == []


def test_an_interrupt_ends_all_that_git_has_started(
    tmp_path: Path, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(git, "_POLL_SECONDS", 0.05)
    with server(b"", b"") as host:
        monkeypatch.setattr(git, "session_usage", interrupted)
        with pytest.raises(KeyboardInterrupt):
            git.git("/", "ls-remote", f"git://{host}/r.git")
        assert await_none(Path(host)) == []


@pytest.mark.slow
def test_a_process_that_computes_waits_for_nobody(tmp_path: Path, impatient: None) -> None:
    """Here it is the program that git takes for ssh; it ends after several times the limit."""
    script = tmp_path / "ssh"
    script.write_text(f"#!/bin/sh\ntimeout {LIMIT_SECONDS * 3} sh -c 'while :; do :; done'\n")
    script.chmod(0o755)
    began = time.monotonic()
    with pytest.raises(MinidockError, match="fatal:") as error:
        git.git(str(tmp_path), "-c", f"core.sshCommand={script}", "ls-remote", "ssh://h/r.git")
    assert not isinstance(error.value, git.TooSlow)
    assert time.monotonic() - began > LIMIT_SECONDS * 2.5


@pytest.mark.slow
def test_a_slow_server_with_enough_bytes_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, impatient: None
) -> None:
    """A repository that comes over a pipe at some 20,000 bytes a second, through the program that
    git takes for ssh."""
    work = tmp_path / "work"
    work.mkdir()
    (work / "Dockerfile").write_text("FROM scratch\n")
    (work / "noise").write_bytes(os.urandom(100_000))
    commit = "-c user.name=a -c user.email=a@b commit -qm one"
    for words in ("init -q", "add -A", commit):
        subprocess.run(["git", "-C", str(work), *words.split()], check=True)
    slowly = "import os,sys,time\nwhile b:=os.read(0,2000): os.write(1,b); time.sleep(.1)"
    script = tmp_path / "ssh"
    script.write_text(f"#!/bin/sh\ngit upload-pack {work} | python3 -c '{slowly}'\n")
    script.chmod(0o755)
    monkeypatch.setenv("GIT_SSH_COMMAND", str(script))
    began = time.monotonic()
    folder = str(tmp_path / "context")
    context_remote.clone("ssh://host/r.git", folder, keep_git=False)
    assert time.monotonic() - began > 2 * LIMIT_SECONDS
    assert sorted(os.listdir(folder)) == ["Dockerfile", "noise"]


def test_an_ssh_that_would_ask_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, impatient: None
) -> None:
    script = tmp_path / "ssh"
    script.write_text("#!/bin/sh\necho 'Host key verification failed.' >&2\nexit 255\n")
    script.chmod(0o755)
    monkeypatch.setenv("GIT_SSH_COMMAND", str(script))
    with pytest.raises(MinidockError, match="git fetch") as error:
        context_remote.clone("ssh://host/r.git", str(tmp_path / "context"), keep_git=False)
    assert "known_hosts" in error.value.hint
