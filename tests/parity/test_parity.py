"""minidock beside the real Docker: the same shell snippet gives the same stdout and exit code.

A case is a few lines of shell under a heading in one of the `*.sh` files here:

    # What this file is about.
    # networked              its daemon has a bridge (and then costs more to start)
    # alone: why             nobody else may use the daemon meanwhile
    # one world              its cases only look at what the prelude has made: one run for all
    helper() { ...; }        before the first heading: for all cases of the file
    ## a case
    # differs: why           where minidock's answer is meant to be another one; docs/parity.md
    D run --rm --net none busybox true; echo $?

`D` is the engine, `$N` a name and `$P` a port of the case's own (support/parity.py). What minidock
leaves behind is removed with its store; of docker's, all that bears the case's name.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.command import Minidock
from support.parity import Snippet, assert_same, give_image, snippets

pytestmark = pytest.mark.root

HERE = Path(__file__).parent


def _parameters() -> Iterator[object]:
    for snippet in snippets(HERE):
        marks = [pytest.mark.alone] if snippet.alone else []
        yield pytest.param(snippet, id=snippet.name, marks=marks)


@pytest.mark.parametrize("snippet", list(_parameters()))
def test_minidock_does_what_docker_does(
    snippet: Snippet,
    request: pytest.FixtureRequest,
    minidock: Minidock,
    busybox_image: str,
    tmp_path: Path,
) -> None:
    docker = request.getfixturevalue("docker_networked" if snippet.networked else "docker")
    give_image(docker, minidock, busybox_image, tmp_path)
    assert_same(snippet, docker, minidock, tmp_path)
