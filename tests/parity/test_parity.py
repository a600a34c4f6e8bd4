"""minidock beside the real Docker: the same shell snippet gives the same stdout and exit code.

A case is a few lines of shell under a heading in one of the `*.sh` files here:

    # What this file is about.
    # networked              its daemon has a bridge (and then costs more to start)
    # alone: why             nobody else may use the daemon meanwhile
    helper() { ...; }        before the first heading: for all cases of the file
    ## a case
    D run --rm --net none busybox true; echo $?

`D` is the engine, `$N` a name and `$P` a port of the case's own (support/parity.py). What minidock
leaves behind is removed with its store; of docker's, the containers.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.command import Minidock
from support.parity import assert_same, give_image

pytestmark = pytest.mark.root

HERE = Path(__file__).parent


def _cases() -> Iterator[object]:
    for path in sorted(HERE.glob("*.sh")):
        prelude, *pieces = path.read_text().split("\n## ")
        lines = prelude.splitlines()
        daemon = "docker_networked" if "# networked" in lines else "docker"
        marks = [pytest.mark.alone] if any(line.startswith("# alone:") for line in lines) else []
        for piece in pieces:
            title, _, snippet = piece.partition("\n")
            yield pytest.param(
                daemon, f"{prelude}\n{snippet}", id=f"{path.stem}: {title}", marks=marks
            )


@pytest.mark.parametrize(("daemon", "snippet"), list(_cases()))
def test_minidock_does_what_docker_does(
    daemon: str,
    snippet: str,
    request: pytest.FixtureRequest,
    minidock: Minidock,
    busybox_image: str,
    tmp_path: Path,
) -> None:
    docker = request.getfixturevalue(daemon)
    give_image(docker, minidock, busybox_image, tmp_path)
    assert_same(snippet, docker, minidock, tmp_path)
