"""A learner's first image: a Flask application, built, visited, changed and built again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.base_images import GROUP, BaseImages, Shell, browse, interrupt

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(600), GROUP]

APPLICATION = """\
import time

from flask import Flask

app = Flask(__name__)


@app.route("/")
def hello():
    return f"<h1>Hello from a container</h1> {time.strftime('%Z %z')}"


app.run(host="0.0.0.0", port=8080)
"""
DOCKERFILE = """\
FROM python:3
RUN mkdir -p /usr/src/app/
WORKDIR /usr/src/app/
COPY . .
RUN pip install --no-cache-dir -r reqs.txt
EXPOSE 8080
ENV TZ Europe/Moscow
CMD ["python", "hello-docker.py"]
"""
PATIENT_DOCKERFILE = DOCKERFILE.replace("COPY . .\n", "COPY reqs.txt .\n").replace(
    "EXPOSE", "COPY . .\nEXPOSE"
)


@pytest.fixture
def shell(base_images: BaseImages, tmp_path: Path) -> Iterator[Shell]:
    shell = Shell(base_images.need("python").root, tmp_path)
    shell.write("hello-docker.py", APPLICATION)
    shell.write("reqs.txt", "flask\n")
    shell.write("Dockerfile", DOCKERFILE)
    yield shell
    base_images.clean()


def _step(stderr: str, instruction: str) -> str:
    """How a step of --progress=plain ended: DONE or CACHED."""
    number = next(
        line.split()[0] for line in stderr.splitlines() if line.endswith(f"] {instruction}")
    )
    ends = [line.split()[1] for line in stderr.splitlines() if line.startswith(f"{number} ")]
    return next(end for end in reversed(ends) if end in ("DONE", "CACHED", "ERROR:"))


def test_a_flask_application_is_built_visited_changed_and_built_again(shell: Shell) -> None:
    shell("minidock build -t hello-docker .")
    first = shell("minidock images -q --no-trunc hello-docker")
    server = shell.start("minidock run --rm --name web -p 8090:8080 hello-docker")
    page = browse("http://localhost:8090", server)
    assert page == "<h1>Hello from a container</h1> MSK +0300"
    assert "GET / HTTP/1.1" in interrupt(server)
    assert shell("minidock ps -aq") == ""

    shell("sed -i 's/from a container/again/' hello-docker.py")
    shell("minidock build -t hello-docker .")
    assert _step(shell.stderr, "RUN mkdir -p /usr/src/app/") == "CACHED"
    assert _step(shell.stderr, "WORKDIR /usr/src/app/") == "CACHED"
    assert _step(shell.stderr, "COPY . .") == "DONE"
    assert _step(shell.stderr, "RUN pip install --no-cache-dir -r reqs.txt") == "DONE"
    assert shell("minidock images -q --no-trunc -f dangling=true") == first
    nameless = next(line for line in shell("minidock images").splitlines() if "<none>" in line)
    assert nameless.split()[:3] == ["<none>", "<none>", first.removeprefix("sha256:")[:12]]

    shell("minidock run -d --name web -p 8090:8080 hello-docker")
    assert browse("http://localhost:8090").startswith("<h1>Hello again</h1>")
    shell("minidock rm -f web")
    shell("minidock image prune -f")
    assert shell("minidock images -f dangling=true -q") == ""


def test_requirements_copied_first_keep_pips_layer_when_the_code_changes(shell: Shell) -> None:
    shell.write("Dockerfile", PATIENT_DOCKERFILE)
    shell("minidock build -t hello-docker .")
    shell("sed -i 's/from a container/again/' hello-docker.py")
    shell("minidock build -t hello-docker .")
    assert _step(shell.stderr, "COPY reqs.txt .") == "CACHED"
    assert _step(shell.stderr, "RUN pip install --no-cache-dir -r reqs.txt") == "CACHED"
    assert _step(shell.stderr, "COPY . .") == "DONE"

    shell("minidock run -d --name web -p 8090:8080 hello-docker")
    assert browse("http://localhost:8090").startswith("<h1>Hello again</h1>")

    shell("minidock build -t hello-docker .")
    assert "DONE" not in _step(shell.stderr, "COPY . .")
