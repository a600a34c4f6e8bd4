"""What a build's steps reach: the host's network by consent, nothing under --network none."""

from __future__ import annotations

import http.server
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.building import build, content, context
from support.command import Minidock

pytestmark = pytest.mark.root

NOT_ALLOWED = "failed to solve: failed to load LLB: network.host is not allowed"


class Server:
    """A web server of the host's; `requests` are the paths that were asked for."""

    def __init__(self, url: str, requests: list[str]) -> None:
        self.url = url
        self.requests = requests


@pytest.fixture
def server() -> Iterator[Server]:
    requests: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"reached")

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield Server(f"http://127.0.0.1:{listening.server_port}", requests)
        listening.shutdown()


def test_host_network_needs_consent_before_any_step_runs(
    minidock: Minidock, busybox_image: str, tmp_path: Path
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    folder = context(
        tmp_path / "context",
        f"FROM {busybox_image}\nRUN touch /mnt/ran\n"
        "RUN --network=host readlink /proc/self/ns/net >/n\n",
    )
    for flags in ([], ["--network=none"], ["--allow", ""]):
        done = minidock("build", "-v", f"{shared}:/mnt", *flags, folder)
        assert done.code == 1
        assert NOT_ALLOWED in done.stderr
        assert not list(shared.iterdir())
    for flags in (["--allow=network.host"], ["--network=host"]):
        build(minidock, "-t", "allowed", "--no-cache", "-v", f"{shared}:/mnt", *flags, folder)
        assert content(minidock, "allowed", tmp_path, "n").strip() == os.readlink(
            "/proc/self/ns/net"
        )


def test_host_network_of_an_inherited_instruction_needs_consent(
    minidock: Minidock, busybox_image: str, tmp_path: Path
) -> None:
    step = "ONBUILD RUN --network=host readlink /proc/self/ns/net >/n\n"
    parent = context(tmp_path / "parent", f"FROM {busybox_image}\n{step}")
    build(minidock, "-t", "parent", parent)
    for number, text in enumerate((
        "FROM parent\nRUN true\n",
        f"FROM {busybox_image} AS a\n{step}FROM a\nRUN true\n",
    )):  # fmt: skip
        folder = context(tmp_path / f"child{number}", text)
        done = minidock("build", folder)
        assert done.code == 1
        assert NOT_ALLOWED in done.stderr
        build(minidock, "-t", "child", "--allow=network.host", folder)
        assert content(minidock, "child", tmp_path, "n").strip() == os.readlink("/proc/self/ns/net")


def test_entitlements_that_cannot_be_given(minidock: Minidock, tmp_path: Path) -> None:
    folder = context(tmp_path / "context", "FROM scratch\nCOPY Dockerfile /\n")
    done = minidock("build", "--allow", "foo", folder)
    assert (done.code, "unknown entitlement foo" in done.stderr) == (1, True)
    done = minidock("build", "--allow", "network.host,security.insecure", folder)
    assert done.code == 1
    assert (
        "failed to solve: granting entitlement security.insecure is not allowed by build daemon "
        "configuration" in done.stderr
    )


def test_nothing_is_reached_without_a_network(
    minidock: Minidock, busybox_image: str, tmp_path: Path, server: Server
) -> None:
    parent = context(
        tmp_path / "parent", f"FROM {busybox_image}\nONBUILD ADD {server.url}/onbuild /f\n"
    )
    build(minidock, "-t", "parent", "--network=none", parent)
    for name, text in {
        "add": f"FROM {busybox_image}\nADD {server.url}/add /f\n",
        "variable": f"FROM {busybox_image}\nARG U={server.url}/variable\nADD $U /f\n",
        "json": f'FROM {busybox_image}\nADD ["{server.url}/json", "/f"]\n',
        "git": f"FROM {busybox_image}\nADD {server.url}/repository.git /f\n",
        "onbuild": "FROM parent\n",
        "stage": f"FROM {busybox_image} AS a\nONBUILD ADD {server.url}/stage /f\nFROM a\n",
    }.items():
        done = minidock("build", "--network=none", context(tmp_path / name, text))
        assert done.code == 1, name
        assert "the build has no network (--network none)" in done.stderr
        assert not server.requests
    # the server is there, and answers a build that has the network
    build(minidock, "-t", "child", context(tmp_path / "child", "FROM parent\n"))
    assert content(minidock, "child", tmp_path, "f") == "reached"
    # nor from what that one left in the cache
    assert minidock("build", "--network=none", str(tmp_path / "child")).code == 1


def test_default_network_of_a_step_is_the_builds(
    minidock: Minidock, busybox_image: str, tmp_path: Path
) -> None:
    folder = context(
        tmp_path / "context",
        f"""\
FROM {busybox_image}
RUN --network=default ls /sys/class/net >/default
RUN <<EOF
ls /sys/class/net >/document
EOF
""",
    )
    build(minidock, "-t", "none", "--network=none", folder)
    assert content(minidock, "none", tmp_path, "default").split() == ["lo"]
    assert content(minidock, "none", tmp_path, "document").split() == ["lo"]
    build(minidock, "-t", "any", folder)
    assert "eth0" in content(minidock, "any", tmp_path, "default")
