"""What a person does on the first day, from an image's recipe to an image that docker runs."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from support.command import Minidock
from support.docker_daemon import Docker
from support.patience import patience

pytestmark = pytest.mark.root


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_web_server_answers_on_localhost(
    minidock: Minidock, busybox_image: str, require: Callable[[str], str]
) -> None:
    port = _free_port()
    name = minidock.ok(
        *("run", "-d", "--name", "web", "-p", f"{port}:80", busybox_image),
        *("httpd", "-f", "-h", "/etc"),
    )
    assert len(name) == 64
    fetch = [require("curl"), "-sS", "--fail", "--retry-all-errors", "--retry", "5"]
    page = subprocess.run(
        [*fetch, f"http://localhost:{port}/passwd"], capture_output=True, text=True, check=False
    )
    assert page.stdout.startswith("root:x:0:0:"), page.stderr
    minidock.ok("rm", "-f", "web")


def test_made_image_starts_its_shell(minidock: Minidock, busybox_image: str) -> None:
    assert minidock.ok("run", "-i", "--rm", busybox_image, stdin="echo $((6 * 7))\n") == "42"


def test_container_keeps_its_writes_over_stop_and_start(
    minidock: Minidock, busybox_image: str
) -> None:
    minidock.ok("run", "--name", "kept", busybox_image, "sh", "-c", "echo x >> /log; cat /log")
    assert minidock.ok("start", "-a", "kept") == "x\nx"


def test_committed_and_saved_image_runs_in_docker(
    minidock: Minidock, busybox_image: str, docker: Docker, tmp_path: Path
) -> None:
    minidock.ok("run", "--name", "author", busybox_image, "sh", "-c", "echo wrote > /hello")
    minidock.ok("commit", "-c", 'CMD ["cat", "/hello"]', "author", "journey:1")
    minidock.ok("save", "-o", str(tmp_path / "journey.tar"), "journey:1")
    loaded = docker.ok("load", "-i", str(tmp_path / "journey.tar"))
    assert "journey:1" in loaded
    run = ("run", "--rm", "--network", "none", "journey:1")
    assert docker.ok(*run) == minidock.ok(*run) == "wrote"
    docker.ok("rmi", "journey:1")


def test_image_of_docker_runs_here(
    minidock: Minidock, docker: Docker, busybox_tar: Path, tmp_path: Path
) -> None:
    docker.ok("import", "-c", 'CMD ["echo", "from docker"]', str(busybox_tar), "theirs:1")
    docker.ok("save", "-o", str(tmp_path / "theirs.tar"), "theirs:1")
    docker.ok("rmi", "theirs:1")
    assert "Loaded image: theirs:1" in minidock.ok("load", "-i", str(tmp_path / "theirs.tar"))
    assert minidock.ok("run", "--rm", "theirs:1") == "from docker"


def test_ten_containers_run_side_by_side(minidock: Minidock, busybox_image: str) -> None:
    started = time.monotonic()
    running = [
        minidock.start("run", "--rm", busybox_image, "sh", "-c", f"echo {n}") for n in range(10)
    ]
    answers = [process.communicate(timeout=patience(60)) for process in running]
    assert [out.decode() for out, _ in answers] == [f"{n}\n" for n in range(10)], answers
    assert time.monotonic() - started < patience(30)
    assert minidock.ok("ps", "-aq") == ""
