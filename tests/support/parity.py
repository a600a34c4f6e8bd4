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
import signal
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from support.command import SOURCE, Minidock, command_line, environment
from support.docker_daemon import Docker
from support.patience import patience

_EQUAL = (
    (r"\b[0-9a-f]{64}\b", "<id>"),
    (r"\b[0-9a-f]{12}\b", "<id>"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)", "<time>"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?( \+0000 UTC)?", "<time>"),
    (r"(\d+|About a|Less than a) (second|minute)s?( ago)?", "<ago>"),
    (r"\b(172\.\d+|10\.213)\.\d+\.\d+\b", "<address>"),
    (r"\b1897[123]\b", "<port>"),
    (r"[ \t]+", " "),
)


@dataclass(frozen=True)
class Snippet:
    """What one shell runs: a case with its file's prelude, or a whole file that is one world.

    name: "FILE: CASE", or "FILE" of a world. titles: its cases, in their order.
    networked: its daemon has a bridge. alone: nobody else may use the daemon meanwhile.
    differs: title -> why minidock's answer is not docker's: a case's line `# differs: WHY`.
    """

    name: str
    text: str
    titles: tuple[str, ...]
    networked: bool
    alone: bool
    differs: dict[str, str]


def snippets(directory: Path) -> Iterator[Snippet]:
    """All snippets of the `*.sh` files of a directory."""
    for path in sorted(directory.glob("*.sh")):
        prelude, *pieces = path.read_text().split("\n## ")
        lines = prelude.splitlines()
        networked = "# networked" in lines
        alone = any(line.startswith("# alone:") for line in lines)
        cases = [(title, text) for title, _, text in (p.partition("\n") for p in pieces)]
        if "# one world" in lines:
            # A case may end without a line break; its heading begins a line all the same.
            texts = [f"echo; echo {shlex.quote(f'## {title}')}\n{text}" for title, text in cases]
            whole = "\n".join((prelude, *texts))
            titles = tuple(title for title, _ in cases)
            yield Snippet(path.stem, whole, titles, networked, alone, _whys(cases))
            continue
        for title, text in cases:
            name, whole = f"{path.stem}: {title}", f"{prelude}\n{text}"
            yield Snippet(name, whole, (title,), networked, alone, _whys([(title, text)]))


def _whys(cases: list[tuple[str, str]]) -> dict[str, str]:
    found = ((title, re.match(r"# differs: (.*)", text)) for title, text in cases)
    return {title: match[1] for title, match in found if match}


class Outcome:
    """What a snippet printed with one engine, made equal, and how it ended."""

    def __init__(self) -> None:
        self.stdout = self.stderr = ""
        self.code = -1
        self.ended = False

    @property
    def visible(self) -> str:
        """What has to be the same for both."""
        return f"{self.stdout}exit code {self.code}\n"

    def of_cases(self, titles: tuple[str, ...]) -> dict[str, str]:
        """What each case printed, by its title; "" is what came before the first of a world."""
        if len(titles) == 1:
            return {titles[0]: self.visible}
        pieces = f"## \n{self.visible}".split("\n## ")
        pieces[0] = pieces[0].removeprefix("## ")
        return {title: text for title, _, text in (piece.partition("\n") for piece in pieces)}


def give_image(docker: Docker, minidock: Minidock, image: str, directory: Path) -> None:
    """Let docker have this very image of minidock's, whatever it calls so already."""
    wanted = minidock.ok("images", "-q", "--no-trunc", image).split()
    if docker.ok("images", "-q", "--no-trunc", image).split() != wanted:
        minidock.ok("save", "-o", str(directory / "image.tar"), image)
        docker.ok("load", "-i", str(directory / "image.tar"))


def assert_same(snippet: Snippet, docker: Docker, minidock: Minidock, directory: Path) -> None:
    """A snippet does the same with both, but for what differs; docker is as it was afterwards.

    Docker does not always answer the same: what its daemon hears late from containerd it tells
    twice, for instance. So where the two differ docker is asked once more. minidock never is.
    """
    name = f"parity-{os.getpid()}"
    engines = (engine_of_docker(docker), engine_of_minidock(minidock))
    theirs, ours = side_by_side(snippet.text, name, engines, directory)
    _remove_from(docker, snippet, name)
    assert ours.ended, f"minidock did not come to its end; it said:\n{ours.stderr}"
    wrong = _differing(snippet, theirs, ours)
    if wrong:
        remove_world(docker, name)
        (theirs,) = side_by_side(snippet.text, name, engines[:1], directory / "again")
        _remove_from(docker, snippet, name)
        wrong &= _differing(snippet, theirs, ours)
    want, got = theirs.of_cases(snippet.titles), ours.of_cases(snippet.titles)
    assert not wrong, "\n".join(
        [f"## {t}\n{got.get(t)}\n--- docker:\n{want.get(t)}" for t in sorted(wrong)]
        + [ours.stderr, "--- docker:", theirs.stderr]
    )


def _differing(snippet: Snippet, theirs: Outcome, ours: Outcome) -> set[str]:
    """The titles of which the two say what they should not, or that docker never came to."""
    if not theirs.ended:
        return set(snippet.titles)
    want, got = theirs.of_cases(snippet.titles), ours.of_cases(snippet.titles)
    wrong = {t for t in want | got if (want.get(t) == got.get(t)) == (t in snippet.differs)}
    return wrong | (set(snippet.titles) - set(want))


def _remove_from(docker: Docker, snippet: Snippet, name: str) -> None:
    docker.remove_all_containers()
    if len(snippet.titles) > 1:
        remove_world(docker, name)


def remove_world(docker: Docker, name: str) -> None:
    """Remove what a snippet has named, and all volumes without a name."""
    kinds = {"network": "{{.Name}}", "volume": "{{.Name}}", "image": "{{.Repository}}:{{.Tag}}"}
    for kind, format in kinds.items():
        listed = docker.ok(kind, "ls", "--format", format).split()
        if own := [one for one in listed if name in one]:
            docker.ok(kind, "rm", "-f", *own)
    docker("volume", "prune", "-af")


@dataclass(frozen=True)
class Engine:
    """An engine's command line, with the environment that it needs, and a port of its own.

    inside: words before the shell of a case, so that it runs on the engine's machine.
    seconds: how long a case may take; a world may take thrice as long. None: a minute of patience.
    """

    name: str
    words: list[str]
    environment: dict[str, str]
    port: str
    seconds: float | None = None
    inside: Sequence[str] = ()


def engine_of_docker(docker: Docker) -> Engine:
    """The docker client, talking to this daemon."""
    words = ["docker", "-H", f"unix://{docker.socket}"]
    return Engine("docker", words, docker.environment, "18971", inside=docker.inside)


def engine_of_minidock(minidock: Minidock) -> Engine:
    """minidock on this store."""
    return Engine("minidock", _as_installed(), environment(minidock.root), "18972")


def side_by_side(
    snippet: str, name: str, engines: Sequence[Engine], directory: Path
) -> list[Outcome]:
    """Run a snippet with several engines at once, each in a directory of its own."""
    outcomes = [Outcome() for _ in engines]
    threads = []
    for engine, outcome in zip(engines, outcomes, strict=True):
        place = directory / engine.name
        place.mkdir(parents=True)
        program = place.parent / f"{engine.name}-engine"
        program.write_text(f'#!/bin/sh\nexec {shlex.join(engine.words)} "$@"\n')
        program.chmod(0o755)
        given = {**engine.environment, "D": str(program), "N": name, "P": engine.port}
        threads.append(threading.Thread(target=_run, args=(engine, snippet, given, place, outcome)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def _as_installed() -> list[str]:
    """minidock started as its installed command starts it: a third quicker than `python -m`.

    Thousands of commands are typed here, so it counts.
    """
    if "MINIDOCK_COMMAND" in os.environ:
        return command_line()
    places = [str(SOURCE), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    start = (
        f"import sys; sys.path += {places!r}; from minidock.__main__ import main; sys.exit(main())"
    )
    return [sys.executable, "-IS", "-c", start]


def _run(
    engine: Engine, snippet: str, variables: dict[str, str], place: Path, outcome: Outcome
) -> None:
    """One engine's part; a shell that takes too long is ended with all that it started."""
    limit_seconds = (engine.seconds or patience(60)) * (3 if "# one world" in snippet else 1)
    shell = subprocess.Popen(
        [*engine.inside, "bash", "-c", f'D() {{ "$D" "$@"; }}\n{snippet}'],
        cwd=place,
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        stdout, stderr = shell.communicate(timeout=limit_seconds)
        outcome.ended = True
    except subprocess.TimeoutExpired:
        os.killpg(shell.pid, signal.SIGKILL)
        stdout, stderr = shell.communicate()
        stderr = b"\n".join((stdout, stderr))
    outcome.stdout = _made_equal(stdout)
    outcome.stderr = stderr.decode(errors="replace")
    outcome.code = shell.returncode


def _made_equal(output: bytes) -> str:
    text = output.decode(errors="replace")
    for pattern, replacement in _EQUAL:
        text = re.sub(pattern, replacement, text)
    return text
