"""Each base image answers a real request, as Docker Hub's image of that name does."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.base_images import GROUP, BaseImages, Shell, browse
from support.command import Minidock
from support.patience import patience

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(600), GROUP]


@pytest.fixture
def need(base_images: BaseImages) -> Iterator[Callable[..., Minidock]]:
    """minidock on the store, with the named images in it; what a test makes goes with the test."""
    yield base_images.need
    base_images.clean()


def _port_of(minidock: Minidock, container: str) -> int:
    return int(minidock.ok("port", container).splitlines()[0].rpartition(":")[2])


def _ask(port: int, question: bytes, end: bytes) -> bytes:
    """Send a question over TCP until somebody answers it."""
    deadline = time.monotonic() + patience(20)
    while True:
        try:
            with socket.create_connection(("localhost", port), timeout=5) as peer:
                peer.sendall(question)
                answer = b""
                while not answer.endswith(end):
                    answer += peer.recv(4096) or pytest.fail(f"it hung up after {answer!r}")
                return answer
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_debian_container_installs_a_package(need: Callable[..., Minidock]) -> None:
    install = "apt-get update -q && apt-get install -y -q --no-install-recommends hello && hello"
    said = need("debian").ok("run", "--rm", "debian", "sh", "-c", install, timeout_seconds=180)
    assert said.splitlines()[-1] == "Hello, world!"


def test_debian_image_starts_bash(need: Callable[..., Minidock]) -> None:
    said = need("debian").ok("run", "-i", "--rm", "debian", stdin="ls -l /proc/1/exe\n")
    assert said.endswith("/bash")


def test_python_is_the_command_and_pip_installs_beside_it(need: Callable[..., Minidock]) -> None:
    minidock = need("python")
    assert minidock.ok("run", "-i", "--rm", "python", stdin="print(6 * 7)\n") == "42"
    program = "pip install -q --no-cache-dir six && python -c 'import six; print(six.__file__)'"
    said = minidock.ok("run", "--rm", "python:slim", "sh", "-c", program, timeout_seconds=120)
    assert said.startswith("/usr/local/lib/python3")


def test_redis_answers_on_a_published_port_and_keeps_its_data(
    need: Callable[..., Minidock],
) -> None:
    minidock = need("redis")
    minidock.ok("run", "-d", "--name", "cache", "-p", "6379", "redis")
    port = _port_of(minidock, "cache")
    assert _ask(port, b"SET key value\r\n", b"\r\n") == b"+OK\r\n"
    assert minidock.ok("exec", "cache", "redis-cli", "get", "key") == "value"
    assert minidock.ok("exec", "cache", "stat", "-c", "%U", "/data") == "redis"
    minidock.ok("restart", "cache")
    port = _port_of(minidock, "cache")
    assert _ask(port, b"GET key\r\n", b"value\r\n") == b"$5\r\nvalue\r\n"


def test_nginx_serves_pages_fills_templates_and_logs_to_stdout(
    need: Callable[..., Minidock], tmp_path: Path
) -> None:
    minidock = need("nginx")
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages/index.html").write_text("a page of mine\n")
    (tmp_path / "where.conf.template").write_text(
        'server { listen 81; location / { return 200 "${PLACE} $uri\\n"; } }\n'
    )
    tmp_path.chmod(0o755)
    minidock.ok(
        *("run", "-d", "--name", "web", "-p", "80", "-p", "81", "-e", "PLACE=here"),
        *("-v", f"{tmp_path}/pages:/usr/share/nginx/html:ro"),
        *("-v", f"{tmp_path}:/etc/nginx/templates:ro", "nginx"),
    )
    ports = {
        line.split("/")[0]: line.rpartition(":")[2]
        for line in minidock.ok("port", "web").splitlines()
    }
    assert browse(f"http://localhost:{ports['80']}") == "a page of mine\n"
    assert browse(f"http://localhost:{ports['81']}/x") == "here /x\n"
    deadline = time.monotonic() + patience(10)
    while '"GET /x HTTP/1.1" 200' not in minidock.ok("logs", "web"):  # written after the answer
        assert time.monotonic() < deadline
        time.sleep(0.1)
    minidock.ok("stop", "web")
    assert minidock.ok("inspect", "-f", "{{.State.ExitCode}}", "web") == "0"


def test_node_runs_a_script_and_npm_installs(need: Callable[..., Minidock], tmp_path: Path) -> None:
    minidock = need("node")
    (tmp_path / "app.js").write_text('console.log(require("is-number")(6 * 7));\n')
    app = ("run", "--rm", "-v", f"{tmp_path}:/app", "-w", "/app")
    minidock.ok(*app, "node:slim", "npm", "install", "is-number@7", timeout_seconds=120)
    assert minidock.ok(*app, "node", "app.js") == "true"
    assert minidock.ok("run", "--rm", "node", "--version").startswith("v")


def test_postgres_makes_the_database_that_its_environment_asks_for(
    need: Callable[..., Minidock], base_images: BaseImages, tmp_path: Path
) -> None:
    minidock = need("postgres")
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    (scripts / "1-table.sql").write_text("CREATE TABLE one AS SELECT 1 AS number;\n")
    (scripts / "2-row.sql.gz").write_bytes(_gzipped(b"INSERT INTO one VALUES (2);\n"))
    (scripts / "3-more.sh").write_text('psql -U "$POSTGRES_USER" -c "INSERT INTO one VALUES (3)"\n')
    (tmp_path / "password").write_text("from a file\n")
    minidock.ok(
        *("run", "-d", "--name", "db", "-e", "POSTGRES_USER=ann", "-e", "POSTGRES_DB=shop"),
        *("-e", "POSTGRES_PASSWORD_FILE=/password", "-v", f"{tmp_path}/password:/password:ro"),
        *("-e", "POSTGRES_INITDB_ARGS=--data-checksums", "-e", "PGDATABASE=shop"),
        *("-v", f"{scripts}:/docker-entrypoint-initdb.d:ro", "-p", "5432", "postgres"),
    )
    shell = Shell(base_images.minidock.root, tmp_path)
    psql = f"PGPASSWORD='from a file' psql -h localhost -p {_port_of(minidock, 'db')} -U ann shop"
    shell(f"for i in $(seq 100); do {psql} -c 'SELECT 1' && exit; sleep 0.2; done; exit 1")
    assert shell(f"{psql} -Atc 'SELECT sum(number) FROM one'") == "6"
    assert shell(f"{psql} -Atc 'SHOW data_checksums'") == "on"
    wrong = subprocess.run(
        ["bash", "-c", psql.replace("from a file", "wrong") + " -c 'SELECT 1'"],
        capture_output=True,
        text=True,
    )
    assert "password authentication failed" in wrong.stderr


def test_postgres_without_a_password_says_what_is_missing(need: Callable[..., Minidock]) -> None:
    result = need("postgres")("run", "--rm", "postgres")
    assert result.code == 1
    assert "-e POSTGRES_PASSWORD=..." in result.stderr


def _gzipped(data: bytes) -> bytes:
    import gzip

    return gzip.compress(data)
