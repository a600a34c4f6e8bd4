"""Run git(1) as a child process, and kill it if its server is too slow.

    http(s)://    git's own limit: http.lowSpeedLimit, http.lowSpeedTime
    other         git has no limit, and ssh(1) waits forever for a silent server. So this process
                  polls the bytes that git and its children (ssh, index-pack) transfer by read(2)
                  and write(2), and their CPU time.

The limit is that of engine/registry/http_pace.py: 1000 bytes a second, here over SLOW_SECONDS. A
process that uses the CPU (index-pack resolves deltas) is not too slow. git runs in a new session
(setsid): ssh has no terminal to ask for a password, and one signal to the process group kills all
of them, also when this process is interrupted.

Source: git-config(1) "http.lowSpeedLimit"; setsid(2).
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from contextlib import suppress

from minidock.engine.registry.http_pace import BYTES_PER_SECOND_MIN
from minidock.errors import MinidockError
from minidock.kernel.session_usage import session_usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

    from minidock.kernel.session_usage import SessionUsage

SLOW_SECONDS = 60.0
_POLL_SECONDS = 0.25
_BUSY_SHARE = 0.02  # of one CPU
_HTTP = "git-remote-http"  # or …-https
_SSH_PROMPTS = ("Host key verification failed", "Permission denied")
_TOO_SLOW = "Operation too slow"  # curl, of lowSpeedLimit


class TooSlow(MinidockError):
    """A git server that sent less than the minimum rate."""


def git(folder: str, *arguments: str) -> None:
    """Run git in a directory, without password prompts and without the host's hooks.

    Raises MinidockError if git is missing or fails, TooSlow.
    """
    settings = (
        "core.hooksPath=/dev/null",
        f"http.lowSpeedLimit={BYTES_PER_SECOND_MIN}",
        f"http.lowSpeedTime={max(1, round(SLOW_SECONDS))}",
    )
    options = [word for setting in settings for word in ("-c", setting)]
    with tempfile.TemporaryFile() as stderr:
        try:
            child = subprocess.Popen(
                ["git", *options, "-C", folder, *arguments],
                env={**os.environ, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                start_new_session=True,
            )
        except FileNotFoundError:
            raise MinidockError(
                "git is not installed", hint="install git (apt-get install git)"
            ) from None
        try:
            _wait(child, arguments[0])
        finally:
            _kill(child)
        if child.returncode:
            _raise_failure(arguments[0], stderr)


def _raise_failure(command: str, stderr: BinaryIO) -> None:
    """Raise the error of a failed git, with its message from stderr."""
    stderr.seek(0)
    lines = stderr.read().decode(errors="replace").strip().splitlines() or [""]
    if any(_TOO_SLOW in line for line in lines):
        raise _too_slow(command)
    reason = next((line for line in lines if line.startswith("fatal:")), lines[-1])
    error = MinidockError(f"failed to fetch the repository: git {command}: {reason}")
    if any(line.startswith(_SSH_PROMPTS) for line in lines):
        error.hint = (
            "ssh cannot prompt here: add the server's key to known_hosts, and yours to ssh-agent"
        )
    raise error


def _too_slow(command: str) -> TooSlow:
    return TooSlow(
        f"failed to fetch the repository: git {command}: the server is too slow: less than "
        f"{BYTES_PER_SECOND_MIN} B/s for {SLOW_SECONDS:.0f} s",
        hint="check that `git ls-remote` of the same address responds",
    )


def _wait(child: subprocess.Popen[bytes], command: str) -> None:
    """Wait for git to end. Raises TooSlow."""
    began, before = time.monotonic(), session_usage(child.pid)
    while True:
        with suppress(subprocess.TimeoutExpired):
            child.wait(_POLL_SECONDS)
            return
        if time.monotonic() - began >= SLOW_SECONDS:
            now, seconds = session_usage(child.pid), time.monotonic() - began
            if _is_too_slow(before, now, seconds):
                raise _too_slow(command)
            began, before = time.monotonic(), now


def _is_too_slow(before: SessionUsage, now: SessionUsage, seconds: float) -> bool:
    """Whether git waits for a slow server; False if the usage of its session is unknown."""
    if not (before.is_known and now.is_known):
        return False
    if any(name.startswith(_HTTP) for name in now.programs):
        return False  # curl enforces the limit; its recv(2) is not counted here
    transferred = now.bytes - before.bytes
    if transferred < 0:
        return False  # a child exited, and its counters with it
    busy = now.cpu_seconds - before.cpu_seconds >= _BUSY_SHARE * seconds
    return transferred < BYTES_PER_SECOND_MIN * seconds and not busy


def _kill(child: subprocess.Popen[bytes]) -> None:
    """Kill git and its children, which may outlive it."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
