"""One shell snippet, run against docker and against minidock: stdout and exit code are equal.

In a snippet `D` (or `$D`) is the engine, `$N` a name and `$P` a port of its own. What differs by
nature (ids, times, addresses) is made equal first. Messages on stderr may differ in their words.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import threading
from pathlib import Path

from support.command import Minidock, command_line, environment
from support.docker_daemon import Docker
from support.patience import patience

_EQUAL = (
    (r"\b[0-9a-f]{64}\b", "<id>"),
    (r"\b[0-9a-f]{12}\b", "<id>"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)", "<time>"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?( \+0000 UTC)?", "<time>"),
    (r"(\d+|About a|Less than a) (second|minute)s?( ago)?", "<ago>"),
    (r"\b(172\.\d+|10\.213)\.\d+\.\d+\b", "<address>"),
    (r"\b1897[12]\b", "<port>"),
    (r"[ \t]+", " "),
)


class Outcome:
    """What a snippet printed with one engine, made equal, and how it ended."""

    def __init__(self) -> None:
        self.stdout = self.stderr = ""
        self.code = -1

    @property
    def visible(self) -> str:
        """What has to be the same for both."""
        return f"{self.stdout}exit code {self.code}\n"


def give_image(docker: Docker, minidock: Minidock, image: str, directory: Path) -> None:
    """Let docker have this very image of minidock's, whatever it calls so already."""
    wanted = minidock.ok("images", "-q", "--no-trunc", image).split()
    if docker.ok("images", "-q", "--no-trunc", image).split() != wanted:
        minidock.ok("save", "-o", str(directory / "image.tar"), image)
        docker.ok("load", "-i", str(directory / "image.tar"))


def assert_same(snippet: str, docker: Docker, minidock: Minidock, directory: Path) -> None:
    """A snippet does the same with both; docker's containers are gone afterwards."""
    name = f"parity-{os.getpid()}"
    theirs, ours = side_by_side(snippet, name, docker, minidock, directory)
    docker.remove_all_containers()
    assert "" not in (ours.stdout, theirs.stdout), "a snippet did not come to its end"
    assert ours.visible == theirs.visible, (
        f"{ours.visible}{ours.stderr}\n--- docker:\n{theirs.visible}{theirs.stderr}"
    )


def side_by_side(
    snippet: str, name: str, docker: Docker, minidock: Minidock, directory: Path
) -> tuple[Outcome, Outcome]:
    """Run a snippet with both engines at once. Returns docker's outcome and minidock's."""
    engines = (
        ("docker", ["docker", "-H", f"unix://{docker.socket}"], docker.environment),
        ("minidock", command_line(), environment(minidock.root)),
    )
    outcomes = (Outcome(), Outcome())
    threads = []
    for (engine, words, variables), outcome, port in zip(
        engines, outcomes, ("18971", "18972"), strict=True
    ):
        place = directory / engine
        place.mkdir()
        program = place.parent / f"{engine}-engine"
        program.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
        program.chmod(0o755)
        given = {**variables, "D": str(program), "N": name, "P": port}
        threads.append(threading.Thread(target=_run, args=(snippet, given, place, outcome)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def _run(snippet: str, variables: dict[str, str], place: Path, outcome: Outcome) -> None:
    done = subprocess.run(
        ["bash", "-c", f'D() {{ "$D" "$@"; }}\n{snippet}'],
        cwd=place,
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=patience(60),
    )
    outcome.stdout = _made_equal(done.stdout)
    outcome.stderr = done.stderr.decode(errors="replace")
    outcome.code = done.returncode


def _made_equal(output: bytes) -> str:
    text = output.decode(errors="replace")
    for pattern, replacement in _EQUAL:
        text = re.sub(pattern, replacement, text)
    return text
