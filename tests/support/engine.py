"""minidock or docker, as a command line: what both must answer alike is asked of each in turn."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass

from support.patience import patience


@dataclass
class Engine:
    """minidock or docker: how its command line is called."""

    words: list[str]
    env: dict[str, str]

    def start(self, *arguments: str, **popen: object) -> subprocess.Popen[bytes]:
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, **popen}
        command = [*self.words, *arguments]
        return subprocess.Popen(  # type: ignore[call-overload,no-any-return]
            command, env=self.env, **options
        )

    def ok(self, *arguments: str) -> str:
        said = subprocess.run(
            [*self.words, *arguments], env=self.env, capture_output=True, text=True, check=False
        )
        assert said.returncode == 0, said
        return said.stdout.strip()

    def await_status(self, wanted: str, seconds: float = 15) -> None:
        """Wait until container "it" is in that state ("" for removed)."""
        deadline = time.monotonic() + patience(seconds)
        while (status := self.status()) != wanted:
            assert time.monotonic() < deadline, f"it is {status!r}, not {wanted!r}"
            time.sleep(0.05)

    def stays(self, wanted: str, seconds: float = 0.5) -> bool:
        """Whether container "it" keeps a state for so long, in which nothing is to happen."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.status() != wanted:
                return False
        return True

    def await_process(self, command: str) -> None:
        """Wait until that command runs in container "it"."""
        deadline = time.monotonic() + patience(15)
        while command not in self.ok("top", "it"):
            assert time.monotonic() < deadline, f"no {command!r} in it"
            time.sleep(0.05)

    def status(self) -> str:
        return self.ok("ps", "-a", "--filter", "name=^it$", "--format", "{{.State}}")
