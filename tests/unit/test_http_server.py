"""The HTTP server as clients see it that speak well, badly, slowly or not at all."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Iterator
from socket import AF_INET, SHUT_WR, SO_RCVBUF, SOCK_STREAM, SOL_SOCKET, create_connection, socket

import pytest

from minidock.http_server import connection as connection_module
from minidock.http_server import server as server_module
from minidock.http_server.connection import BadRequest, Connection, Request
from minidock.http_server.server import Server
from support.patience import await_true, patience


class Site:
    """A server on loopback, and what its handler has seen."""

    def __init__(self) -> None:
        self.ended: list[str] = []
        self._listening = socket(AF_INET, SOCK_STREAM)
        self._listening.bind(("127.0.0.1", 0))
        self._listening.listen(64)
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=Server(self._listening, self.answer).serve, daemon=True).start()

    def answer(self, connection: Connection, request: Request) -> None:
        if request.path == "/stream":
            connection.start(200, kind="text/event-stream")
            connection.send(b"data: first\n\n")
            await_true(connection.is_closed, "the client has closed", seconds=20)
            self.ended.append("closed")
        elif request.path == "/flood":
            connection.start(200, kind="text/plain")
            try:
                while True:
                    connection.send(b"x" * 65536)
            except OSError as error:
                self.ended.append(type(error).__name__)
                raise
        elif request.path == "/bad":
            raise BadRequest(418, "a teapot")
        else:
            said = (
                f"{request.method} {request.path} {sorted(request.query.items())} {request.body!r}"
            )
            connection.respond(200, said.encode())

    def raw(self, data: bytes) -> bytes:
        """What the server answers to these bytes, until it closes the connection."""
        with create_connection(("127.0.0.1", self.port), timeout=patience(20)) as client:
            client.sendall(data)
            client.shutdown(SHUT_WR)
            return b"".join(iter(lambda: client.recv(65536), b""))


@pytest.fixture
def site() -> Iterator[Site]:
    yield Site()


def test_requests_of_one_connection_are_answered_one_after_another(site: Site) -> None:
    client = http.client.HTTPConnection("127.0.0.1", site.port, timeout=patience(10))
    for body in (b"one", b"two"):
        client.request("POST", "/a?x=1&y=%20", body)
        answer = client.getresponse()
        assert answer.read().decode() == f"POST /a [('x', '1'), ('y', ' ')] {body!r}"
        assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert answer.headers["Cache-Control"] == "no-store"
    client.close()


def test_pipelined_requests_are_answered_in_order(site: Site) -> None:
    asked = b"".join(b"GET /%d HTTP/1.1\r\nHost: h\r\n\r\n" % n for n in range(5))
    answers = site.raw(asked)
    assert [answers.find(b"GET /%d " % n) for n in range(5)] == sorted(
        answers.find(b"GET /%d " % n) for n in range(5)
    )
    assert answers.count(b"HTTP/1.1 200") == 5


def test_head_has_no_body_and_a_chunked_body_arrives_whole(site: Site) -> None:
    assert site.raw(b"HEAD / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").endswith(
        b"\r\n\r\n"
    )
    chunked = b"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert b"b'abcd'" in site.raw(chunked + b"2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n")


def test_a_client_that_waits_for_100_continue_is_told_to_go_on(site: Site) -> None:
    with create_connection(("127.0.0.1", site.port), timeout=patience(10)) as client:
        head = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
        client.sendall(head)
        assert client.recv(1000).startswith(b"HTTP/1.1 100")
        client.sendall(b"ok")
        client.shutdown(SHUT_WR)
        assert b"b'ok'" in b"".join(iter(lambda: client.recv(65536), b""))


@pytest.mark.parametrize(("sent", "status"), [
    (b"nonsense\r\n\r\n", 400),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: h\r\nA: " + b"x" * 70_000 + b"\r\n\r\n", 431),
    (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 70000\r\n\r\n" + b"x" * 70_000, 413),
    (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
    (b"GET //[ HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    (b"GET /?" + b"a&" * 500 + b"a HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    (b"GET /bad HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", 418),
])  # fmt: skip
def test_what_is_no_request_gets_its_status_and_the_end(
    site: Site, sent: bytes, status: int
) -> None:
    with create_connection(("127.0.0.1", site.port), timeout=patience(20)) as client:
        client.sendall(sent)
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 %d" % status), answer[:200]


def test_half_a_request_is_given_up(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if a byte arrives now and then: the whole request has one limit."""
    monkeypatch.setattr(connection_module, "REQUEST_SECONDS", 0.5)
    with create_connection(("127.0.0.1", site.port), timeout=patience(10)) as client:
        begun = time.monotonic()
        client.sendall(b"GET / HTTP/1.1\r\n")
        with pytest.raises(OSError):  # broken pipe, or reset
            while time.monotonic() - begun < patience(10):
                client.sendall(b"A")
                time.sleep(0.05)
            pytest.fail("the connection stays open")


def test_an_idle_connection_is_closed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "IDLE_SECONDS", 0.3)
    with create_connection(("127.0.0.1", site.port), timeout=patience(10)) as client:
        assert client.recv(1) == b""


def test_a_client_that_does_not_read_is_given_up(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "SEND_SECONDS", 0.5)
    with socket(AF_INET, SOCK_STREAM) as client:
        client.setsockopt(SOL_SOCKET, SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", site.port))
        client.sendall(b"GET /flood HTTP/1.1\r\nHost: h\r\n\r\n")
        await_true(lambda: site.ended == ["TimeoutError"], "the server gives up")


def test_a_stream_ends_when_its_client_is_gone(site: Site) -> None:
    client = create_connection(("127.0.0.1", site.port), timeout=patience(10))
    _begin_stream(client)
    assert not site.ended, "it is still open"
    client.close()
    await_true(lambda: site.ended == ["closed"], "the server notices")


def test_connections_beyond_the_most_are_refused_and_places_come_back(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = server_module.CONNECTIONS_MOST
    taken = [create_connection(("127.0.0.1", site.port)) for _ in range(most)]
    for client in taken:
        _begin_stream(client)
    assert site.raw(b"").startswith(b"HTTP/1.1 503")
    for client in taken:
        client.close()
    await_true(lambda: len(site.ended) == most, "their threads have ended")
    one = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
    await_true(lambda: site.raw(one).startswith(b"HTTP/1.1 200"), "a place is free")


def _begin_stream(client: socket) -> None:
    """Ask for the stream, and receive its first event."""
    client.sendall(b"GET /stream HTTP/1.1\r\nHost: h\r\n\r\n")
    received = b""
    while b"data: first" not in received:
        received += client.recv(1000)
