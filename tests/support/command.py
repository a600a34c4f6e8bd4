"""minidock's command line, run as a user runs it: a process of its own, its answer in three parts.

MINIDOCK_COMMAND names an installed command to test (`/usr/local/bin/minidock`); without it the
source tree is run by the interpreter that runs the tests.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from support.patience import patience

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCE = REPOSITORY / "src"


@dataclass(frozen=True)
class Result:
    """What a command answered.

    code: its exit code; negative for the signal that ended it.
    """

    arguments: tuple[str, ...]
    code: int
    stdout: str
    stderr: str

    def __str__(self) -> str:
        return (
            f"minidock {shlex.join(self.arguments)}\n  exit code {self.code}\n"
            f"  stdout: {self.stdout!r}\n  stderr: {self.stderr!r}"
        )


def command_line() -> list[str]:
    """The words that start minidock here."""
    installed = os.environ.get("MINIDOCK_COMMAND")
    return [installed] if installed else [sys.executable, "-m", "minidock"]


def _waits(pid: int) -> str:
    """Where in the kernel a process is, what it has open, and all processes and locks beside it."""
    asked = [f"cat /proc/{pid}/stack /proc/{pid}/syscall", f"ls -l /proc/{pid}/fd",
             "ps -eo pid,ppid,stat,wchan:20,etimes,args", "cat /proc/locks"]  # fmt: skip
    shell = ["sh", "-c", "; ".join(asked)]
    done = subprocess.run(shell, capture_output=True, check=False, timeout=patience(30))
    return (done.stdout + done.stderr).decode("utf-8", "replace")


def environment(root: str | None = None) -> dict[str, str]:
    """The environment for a minidock of the given store."""
    env = dict(os.environ)
    env["PYTHONPATH"] = str(SOURCE)
    if root is not None:
        env["MINIDOCK_ROOT"] = root
    return env


class Minidock:
    """Runs `minidock ARGUMENTS` on one store."""

    def __init__(self, root: str) -> None:
        self.root = root

    def __call__(
        self,
        *arguments: str,
        stdin: str | bytes | None = None,
        env: dict[str, str] | None = None,
        timeout_seconds: float = 60,
    ) -> Result:
        """Run it to its end, whatever its exit code; a timeout's error shows what it waits for."""
        with subprocess.Popen(
            [*command_line(), *arguments],
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**environment(self.root), **(env or {})},
        ) as process:
            try:
                given = stdin.encode() if isinstance(stdin, str) else stdin
                out, err = process.communicate(given, patience(timeout_seconds))
            except BaseException as error:
                error.add_note(_waits(process.pid))
                process.kill()
                raise
        return Result(
            arguments,
            process.returncode,
            out.decode("utf-8", "replace"),
            err.decode("utf-8", "replace"),
        )

    def ok(
        self,
        *arguments: str,
        stdin: str | bytes | None = None,
        env: dict[str, str] | None = None,
        timeout_seconds: float = 60,
    ) -> str:
        """Run it, expect exit code 0, return its stdout without the last line break."""
        result = self(*arguments, stdin=stdin, env=env, timeout_seconds=timeout_seconds)
        assert result.code == 0, str(result)
        return result.stdout.removesuffix("\n")

    def start(self, *arguments: str, **popen: object) -> subprocess.Popen[bytes]:
        """Start it and return at once; stdin, stdout and stderr are pipes unless given."""
        options: dict[str, object] = {
            "stdin": subprocess.PIPE,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "env": environment(self.root),
            **popen,
        }
        return subprocess.Popen([*command_line(), *arguments], **options)  # type: ignore[call-overload,no-any-return]
