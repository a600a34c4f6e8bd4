"""A proxy in front of a registry that does to its answers whatever a test tells it to.

    with misbehaving(registry.host) as proxy:
        proxy.on("GET", "/blobs/", cut_at(100_000))      the first such answer ends there
        proxy.on("GET", "/blobs/", stalls_at(5), times=99)
        minidock("pull", f"{proxy.host}/team/app")
        assert proxy.asked("GET", "/blobs/") == […]

An act gets the answer and may change its status, headers and content, or how it is sent.
"""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Answer:
    """What the registry said, and how it is to be sent on.

    stop_at: so many bytes of the content are sent, and then the connection is closed, or, with
    `stalls`, left open in silence.
    """

    status: int
    headers: dict[str, str]
    content: bytes
    stop_at: int | None = None
    stalls: bool = False


@dataclass
class Asked:
    """A request that came through. body: how many bytes it had."""

    method: str
    path: str
    headers: dict[str, str]
    body: int = 0


Act = Callable[[Answer], None]


@dataclass
class Rule:
    method: str
    part: str
    act: Act
    times: int


def cut_at(count: int) -> Act:
    """The connection ends after so many bytes of the content."""

    def act(answer: Answer) -> None:
        answer.stop_at = count

    return act


def stalls_at(count: int) -> Act:
    """Nothing comes after so many bytes of the content, and the connection stays."""

    def act(answer: Answer) -> None:
        answer.stop_at, answer.stalls = count, True

    return act


def status(number: int, content: bytes = b"", **headers: str) -> Act:
    """Another answer altogether."""

    def act(answer: Answer) -> None:
        answer.status, answer.content = number, content
        answer.headers = {k.replace("_", "-"): v for k, v in headers.items()}

    return act


def content(change: Callable[[bytes], bytes]) -> Act:
    """Other content, under the same headers."""

    def act(answer: Answer) -> None:
        answer.content = change(answer.content)

    return act


def header(name: str, value: str) -> Act:
    """Another header."""

    def act(answer: Answer) -> None:
        answer.headers[name] = value

    return act


@dataclass
class Proxy:
    """host: "127.0.0.1:PORT". ranges: whether it lets a Range through to the registry."""

    host: str
    upstream: str
    ranges: bool = True
    requests: list[Asked] = field(default_factory=list)
    rules: list[Rule] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def on(self, method: str, part: str, act: Act, *, times: int = 1) -> None:
        """Do something to the next answers to requests whose path has a part."""
        self.rules.append(Rule(method, part, act, times))

    def asked(self, method: str, part: str = "") -> list[Asked]:
        """The requests so far, of one method, whose path has a part."""
        return [a for a in self.requests if a.method == method and part in a.path]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    proxy: Proxy


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        proxy = self.server.proxy
        body = self._body()
        headers = dict(self.headers.items())
        if self.path.startswith("http://"):  # we are somebody's HTTP proxy
            self.path = "/" + self.path.split("/", 3)[3]
        asked = Asked(self.command, self.path, headers, len(body))
        proxy.requests.append(asked)
        sent = {k: v for k, v in headers.items() if k.lower() not in _OWN}
        if not proxy.ranges:
            sent.pop("Range", None)
        answer = self._upstream(body, sent)
        for rule in proxy.rules:
            if rule.times and rule.method == self.command and rule.part in self.path:
                rule.times -= 1
                rule.act(answer)
                break
        self._send(answer)

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        pieces = []
        while size := int(self.rfile.readline(), 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(pieces)

    def _upstream(self, body: bytes, headers: dict[str, str]) -> Answer:
        connection = http.client.HTTPConnection(self.server.proxy.upstream, timeout=60)
        try:
            # With our Host, so that where it sends us to is here.
            connection.request(self.command, self.path, body or None, headers)
            response = connection.getresponse()
            kept = {k: v for k, v in response.getheaders() if k.lower() not in _OWN}
            length = response.getheader("Content-Length")
            read = response.read()
            if self.command == "HEAD" and length:
                kept["Content-Length"] = length
            return Answer(response.status, kept, read)
        finally:
            connection.close()

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if "Content-Length" not in answer.headers:
            self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        if answer.stop_at is None:
            self.wfile.write(answer.content)
            return
        self.wfile.write(answer.content[: answer.stop_at])
        self.wfile.flush()
        if answer.stalls:
            self.server.proxy.ended.wait(120)
        self.close_connection = True

    def log_message(self, format: str, *arguments: object) -> None:
        return


_OWN = ("content-length", "transfer-encoding", "connection", "accept-encoding")


@contextmanager
def misbehaving(upstream: str) -> Iterator[Proxy]:
    """A proxy for as long as the block lasts."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.proxy = Proxy(f"127.0.0.1:{server.server_address[1]}", upstream)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server.proxy
        finally:
            server.proxy.ended.set()
            server.shutdown()
