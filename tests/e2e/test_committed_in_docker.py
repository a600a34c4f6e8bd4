"""What minidock commits and saves, docker loads and runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.command import Minidock
from support.docker_daemon import Docker

pytestmark = pytest.mark.root


def test_what_is_committed_and_saved_runs_in_docker(
    docker: Docker, minidock: Minidock, busybox_image: str, tmp_path: Path
) -> None:
    minidock.ok(
        "run",
        "--net",
        "none",
        "--name",
        "made",
        busybox_image,
        "sh",
        "-c",
        "mkdir /d && echo kept > /d/f && chmod 4711 /d/f && rm /bin/vi && ln /d/f /d/g",
    )
    minidock.ok("commit", "-c", 'CMD ["cat", "/d/g"]', "-c", "ENV X=1", "made", "made:1")
    minidock.ok("save", "-o", str(tmp_path / "made.tar"), "made:1")
    docker.ok("load", "-i", str(tmp_path / "made.tar"))
    look = "stat -c '%n %a %u %h' /d/f /d/g; ls /bin/vi; echo $X"
    for command in ((), ("sh", "-c", look), ("sh", "-c", "find / -xdev | grep -v dockerenv")):
        asked = ("run", "--rm", "--net", "none", "-h", "h", "made:1", *command)
        theirs = docker(*asked).stdout.decode()
        ours = minidock(*asked).stdout
        assert sorted(ours.splitlines()) == sorted(theirs.splitlines())
    docker.ok("rmi", "made:1")
