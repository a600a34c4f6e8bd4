"""The same Dockerfiles built by docker (BuildKit) and by minidock: the images are the same.

Compared are every file (kind, mode, owner, content, link, device, extended attributes, and its
time where the build did not make it), which files each layer has, the config, the history and the
author.
Of a Dockerfile that is wrong: that both say so with the same exit code, on the same lines of it.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from minidock.paths import Store
from support import built, docker_daemon, stores
from support.built import Case
from support.command import Minidock
from support.docker_daemon import Docker

pytestmark = pytest.mark.root

if shutil.which("docker") and not Path("/usr/libexec/docker/cli-plugins/docker-buildx").exists():
    pytest.skip("docker-buildx is not installed", allow_module_level=True)


# Where Docker speaks of its cache and its mounts, or says little, minidock has words of its own.
OWN_WORDS = {
    "wrong-checksum": "digest mismatch",
    "wrong-ignore": "invalid excludepatterns: [[a]: syntax error in pattern",
    "wrong-ignored-file": '"/a": not found',
    "wrong-missing-file": '"/missing": not found',
    "wrong-missing-in-stage": '"/missing": not found',
    "wrong-no-command": 'process "/nope x" did not complete successfully: exit code: 1',
    "wrong-url": "404",
    "wrong-user": "unable to find user nobody2: no matching entries in passwd file",
}
# Docker shows no line of the Dockerfile here.
NO_LINE = ("wrong-checksum", "wrong-url")
# What Docker says instead of the error now and then: nothing, or that the rest was called off.
SELDOM = ("", "Canceled: context canceled")


class Builders:
    """Docker and minidock, both with the same busybox."""

    def __init__(self, docker: Docker, minidock: Minidock) -> None:
        self.docker = docker
        self.minidock = minidock
        docker.ok("load", stdin=self.saved("busybox"))

    def saved(self, tag: str) -> bytes:
        """What `minidock save` writes."""
        with tempfile.NamedTemporaryFile(dir=self.minidock.root) as file:
            self.minidock.ok("save", "-o", file.name, tag)
            return Path(file.name).read_bytes()


@pytest.fixture(scope="module")
def builders(request: pytest.FixtureRequest) -> Iterator[Builders]:
    from conftest import session_directory

    session = session_directory()
    root = tempfile.mkdtemp(prefix="build", dir=session)
    with open(session / "stores", "a") as owners:
        owners.write("".join(f"{m}\t{__name__}\n" for m in stores.marks(Store(root))))
    minidock = Minidock(root)
    minidock.ok("image", "make", "busybox")
    yield Builders(docker_daemon.ensure(session, "plain"), minidock)
    stores.wipe(Store(root))


@pytest.mark.parametrize("case", built.cases(), ids=lambda case: case.name)
def test_build_comes_to_what_dockers_build_comes_to(
    case: Case, builders: Builders, tmp_path: Path
) -> None:
    context = tmp_path / case.name
    case.prepare(context)
    tag = f"beside-{case.name}"
    with built.served(context / "served") as url:
        arguments = case.arguments(context, url)
        fetches = any(url in argument for argument in arguments)  # --network=none forbids that here
        words = ["build", "--no-cache", "--progress=plain", "-t", tag]
        words += [] if fetches else ["--network=none"]
        words += [*arguments, str(context)]
        theirs = builders.docker(*words)
        for _ in range(3):
            told = theirs.stderr.decode()
            if not case.must_fail or built.error(told) not in SELDOM:
                break
            theirs = builders.docker(*words)
        ours = builders.minidock(*words)
    if case.must_fail:
        assert ours.code == theirs.returncode == 1
        assert built.error(told), told
        _compare_errors(case, built.error(ours.stderr), built.error(told))
        shown = built.shown_lines(told)
        assert built.shown_lines(ours.stderr) == shown or (case.name in NO_LINE and not shown)
        return
    assert theirs.returncode == 0, told
    assert ours.code == 0, ours.stderr
    _compare(
        built.image(builders.saved(tag)),
        built.image(builders.docker("save", tag).stdout),
    )


def _compare_errors(case: Case, ours: str, theirs: str) -> None:
    """The same words, but for the case's `OWN_WORDS`: those are in both, among others."""
    if case.name in OWN_WORDS:
        assert OWN_WORDS[case.name] in ours
        assert OWN_WORDS[case.name] in theirs
    else:
        assert ours == theirs


def _compare(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Part by part, and of the files only those that differ: that is what a reader wants to see."""
    ours_files, their_files = ours.pop("files"), theirs.pop("files")
    different = {n for n in ours_files | their_files if ours_files.get(n) != their_files.get(n)}
    assert {n: ours_files.get(n) for n in different} == {n: their_files.get(n) for n in different}
    for part in ours:
        assert {part: ours[part]} == {part: theirs[part]}
