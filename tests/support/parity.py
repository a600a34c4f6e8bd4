"""One shell snippet, run against docker and against minidock: stdout and exit code are equal.

In a snippet `D` (or `$D`) is the engine, `$N` a name and `$P` a port of its own. What differs by
nature (ids, times, addresses) is made equal first. Messages on stderr may differ in their words.
A file with the line `# one world` is one snippet: its cases only look at what its prelude has made,
and each is told from the others by its heading, which the snippet prints.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Snippet:
    """What one shell runs: a case with its file's prelude, or a whole file that is one world.

    name: "FILE: CASE", or "FILE" of a world. titles: its cases, in their order.
    networked: its daemon has a bridge. alone: nobody else may use the daemon meanwhile.
    """

    name: str
    text: str
    titles: tuple[str, ...]
    networked: bool
    alone: bool


def snippets(directory: Path) -> Iterator[Snippet]:
    """All snippets of the `*.sh` files of a directory."""
    for path in sorted(directory.glob("*.sh")):
        prelude, *pieces = path.read_text().split("\n## ")
        lines = prelude.splitlines()
        networked = "# networked" in lines
        alone = any(line.startswith("# alone:") for line in lines)
        cases = [(title, text) for title, _, text in (p.partition("\n") for p in pieces)]
        if "# one world" in lines:
            texts = [f"echo {shlex.quote(f'## {title}')}\n{text}" for title, text in cases]
            whole = "\n".join((prelude, *texts))
            yield Snippet(path.stem, whole, tuple(t for t, _ in cases), networked, alone)
            continue
        for title, text in cases:
            name = f"{path.stem}: {title}"
            yield Snippet(name, f"{prelude}\n{text}", (title,), networked, alone)


class Outcome:
    """What a snippet printed with one engine, made equal, and how it ended."""

    def __init__(self) -> None:
        self.stdout = self.stderr = ""
        self.code = -1

    @property
    def visible(self) -> str:
        """What has to be the same for both."""
        return f"{self.stdout}exit code {self.code}\n"

    def of_cases(self) -> dict[str, str]:
        """What each case of a world printed, by its title; "" is what came before the first."""
        pieces = f"## \n{self.visible}".split("\n## ")
        pieces[0] = pieces[0].removeprefix("## ")
        return {title: text for title, _, text in (piece.partition("\n") for piece in pieces)}


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
    assert ours.visible == theirs.visible, differences(ours, theirs)


def differences(ours: Outcome, theirs: Outcome) -> str:
    """Both answers to each case in which they differ, and what was said on stderr."""
    want, got = theirs.of_cases(), ours.of_cases()
    lines = []
    for title in {**want, **got}:
        if want.get(title) != got.get(title):
            lines += [f"## {title}", got.get(title, "(no answer)")]
            lines += ["--- docker:", want.get(title, "(no answer)")]
    return "\n".join((*lines, ours.stderr, "--- docker:", theirs.stderr))


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
