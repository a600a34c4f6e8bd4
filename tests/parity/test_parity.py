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

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.command import REPOSITORY, Minidock
from support.parity import Snippet, assert_same, give_image, snippets

HERE = Path(__file__).parent


def _parameters() -> Iterator[object]:
    for snippet in snippets(HERE):
        marks = [pytest.mark.alone] if snippet.alone else []
        yield pytest.param(snippet, id=snippet.name, marks=marks)


@pytest.mark.root
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


def test_the_page_speaks_of_these_cases_and_of_all_that_differ() -> None:
    cases = {(s.name.partition(":")[0], title) for s in snippets(HERE) for title in s.titles}
    page = (REPOSITORY / "docs/parity.md").read_text()
    rows = set()
    for section in page.split("\n### ")[1:]:
        file = section.partition(".sh\n")[0]
        titles = re.findall(r"^\| (.+) \| \S+ \| \S+ \|$", section, re.M)
        rows |= {(file, title) for title in titles if title != "case"}
    assert rows <= cases
    assert len(rows) >= 200
    for snippet in snippets(HERE):
        for title, why in snippet.differs.items():
            assert f"- **{snippet.name.partition(':')[0]}: {title}**: {why}." in page
