"""A server that sends a byte now and then: every request to it ends, whatever drips."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from minidock.engine.build import context_remote, download, git
from minidock.engine.registry.settings import Endpoint, Settings
from minidock.engine.registry.transport import Interrupted, Transport, read_some
from minidock.errors import MinidockError
from support.dripping import ENDS_SECONDS, dripping
from support.registry import Authority

OK = b"HTTP/1.1 200 OK\r\n"
LONG = b"a" * 10_000
DRIPS: dict[str, tuple[bytes, bytes]] = {
    "status line": (b"", OK),
    "header": (OK + b"X: ", LONG),
    "headers without end": (OK, b"A: b\r\n" * 999),
    "interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 99),
    "content": (OK + b"Content-Length: 10000\r\n\r\n", LONG),
    "content until the end": (OK + b"Connection: close\r\n\r\n", LONG),
    "chunk size": (OK + b"Transfer-Encoding: chunked\r\n\r\n5;", LONG),
    "chunk": (OK + b"Transfer-Encoding: chunked\r\n\r\n2710\r\n", LONG),
    "trailers": (OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n", b"A: b\r\n" * 999),
}


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Those of a machine that is patient for half a second."""
    monkeypatch.setenv("MINIDOCK_CONFIG", str(tmp_path))
    (tmp_path / "registries.json").write_text(json.dumps({"timeout-seconds": 0.5}))
    monkeypatch.setattr(download, "_READ_SECONDS", 0.5)
    monkeypatch.setenv("NO_PROXY", "")
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    return Settings()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def read_all(settings: Settings, url: str) -> bytes:
    """What a registry has at a URL."""
    scheme, _, rest = url.partition("://")
    endpoint = Endpoint(rest.partition("/")[0], scheme=scheme, verify=False)
    transport = Transport(settings, endpoint)
    content = b""
    try:
        response = transport.send("GET", url)
        while more := read_some(response, 1 << 17, settings.timeout_seconds):
            content += more
    finally:
        transport.close()
    return content


def ends_early(act: Callable[[], object], error: type[Exception]) -> str:
    """What was said, long before the server had done dripping."""
    started = time.monotonic()
    with pytest.raises(error) as raised:
        act()
    assert time.monotonic() - started < ENDS_SECONDS / 2
    return str(raised.value)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("what", DRIPS)
def test_a_registry_that_drips_is_given_up(
    what: str, scheme: str, settings: Settings, authority: Authority
) -> None:
    with dripping(*DRIPS[what], authority=authority if scheme == "https" else None) as host:
        said = ends_early(lambda: read_all(settings, f"{scheme}://{host}/v2/"), Interrupted)
    slow = "too slow" in said or "the headers are incomplete at the deadline" in said
    assert slow or "no answer for" in said or "has sent nothing for" in said


@pytest.mark.parametrize("what", DRIPS)
def test_a_download_that_drips_is_given_up(what: str, settings: Settings, tmp_path: Path) -> None:
    with dripping(*DRIPS[what]) as host:
        ends_early(
            lambda: download.download(f"http://{host}/f", str(tmp_path / "new")),
            download.DownloadFailed,
        )


@pytest.mark.parametrize("proxy_scheme", ["http", "https"])
def test_a_proxy_that_drips_is_given_up(
    proxy_scheme: str,
    settings: Settings,
    authority: Authority,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(download, "_CONNECT_SECONDS", 0.5)
    monkeypatch.setattr(download, "_RETRIES", 0)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
    tls = authority if proxy_scheme == "https" else None
    with dripping(OK, b"A: b\r\n" * 999, authority=tls) as host:
        monkeypatch.setenv("HTTPS_PROXY", f"{proxy_scheme}://{host}")
        said = ends_early(
            lambda: download.download("https://nowhere.example/f", str(tmp_path / "new")),
            download.DownloadFailed,
        )
    assert "headers" in said or "timed out" in said


@pytest.mark.slow
def test_a_repository_that_drips_is_given_up(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(git, "SLOW_SECONDS", 1)
    with dripping(OK, b"A: b\r\n" * 999) as host:
        ends_early(
            lambda: context_remote.clone(
                f"http://{host}/r.git#v1", str(tmp_path / "r"), keep_git=False
            ),
            MinidockError,
        )


@pytest.mark.slow
def test_a_reader_that_is_slow_itself_is_no_fault_of_the_servers(settings: Settings) -> None:
    head = OK + b"Content-Length: 100000\r\n\r\n"
    with dripping(head + b"a" * 100_000, b"") as host:
        transport = Transport(settings, Endpoint(host, scheme="http", verify=False))
        response = transport.send("GET", f"http://{host}/v2/")
        came = 0
        for _ in range(4):
            time.sleep(0.4)  # a slow reader
            came += len(read_some(response, 25_000, 0.5))
        transport.close()
    assert came == 100_000


class _Redirects(BaseHTTPRequestHandler):
    """/f is elsewhere, at /g; and it says so with a text that has no end."""

    def do_GET(self) -> None:
        is_there = self.path == "/g"
        self.send_response(200 if is_there else 302)
        if not is_there:
            self.send_header("Location", "/g")
        self.end_headers()
        self.wfile.write(b"here")
        try:
            while not is_there:
                self.wfile.write(LONG)
        except OSError:
            return

    def log_message(self, format: str, *arguments: object) -> None:
        return


def test_the_text_of_a_redirect_may_be_endless(settings: Settings, tmp_path: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Redirects) as server, ExitStack() as stack:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        stack.callback(server.shutdown)
        url = f"http://127.0.0.1:{server.server_address[1]}/f"
        assert read_all(settings, url) == b"here"
        path = download.download(url, str(tmp_path / "new"))
        assert Path(path).read_bytes() == b"here" and os.path.basename(path) == "f"
