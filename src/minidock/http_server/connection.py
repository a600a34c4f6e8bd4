"""One connection of an HTTP/1.1 server: requests in, responses out, over a stream socket.

    for request in connection.requests():
        connection.respond(200, b"text", kind="text/plain")
        or: connection.start(200, kind="text/event-stream"); connection.send(b"…"); connection.end()

h11 parses and writes the protocol; the socket is ours. All waits have a limit: a request must be
complete after REQUEST_SECONDS, a response is given up when the client takes nothing for
SEND_SECONDS, an idle connection is closed after IDLE_SECONDS. Head and body have a longest size.

Sources: RFC 9110 and 9112; h11's documentation.
"""

from __future__ import annotations

import select
import time
from socket import MSG_PEEK, SHUT_WR
from urllib.parse import parse_qsl, urlsplit

import h11

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from socket import socket

    Headers = Sequence[tuple[str, str]]

HEAD_BYTES, BODY_BYTES = 16 * 1024, 64 * 1024
REQUEST_SECONDS, IDLE_SECONDS, SEND_SECONDS = 10.0, 30.0, 10.0
_PIECE = 64 * 1024
_FIELDS_MOST = 20


class BadRequest(Exception):
    """A request that cannot be answered otherwise. status: of the response."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Request:
    """A request. path: decoded by nobody, without the query. headers: names in lower case.

    A header that occurs twice has its values joined by ", ".
    Raises BadRequest for a target that cannot be parsed.
    """

    def __init__(self, event: h11.Request, body: bytes) -> None:
        try:
            target = urlsplit(event.target.decode("ascii", "replace"))
            self.query = dict(parse_qsl(target.query, max_num_fields=_FIELDS_MOST))
        except ValueError as error:
            raise BadRequest(400, f"the target of the request: {error}") from None
        self.method = event.method.decode("ascii", "replace")
        self.path = target.path
        self.body = body
        self.headers: dict[str, str] = {}
        for name, value in event.headers:
            key, text = name.decode("ascii", "replace"), value.decode("latin-1")
            self.headers[key] = f"{self.headers[key]}, {text}" if key in self.headers else text

    def form(self) -> dict[str, str]:
        """The body as fields (application/x-www-form-urlencoded). Raises BadRequest."""
        try:
            return dict(parse_qsl(self.body.decode(), max_num_fields=_FIELDS_MOST))
        except ValueError as error:
            raise BadRequest(400, f"the body of the request: {error}") from None


class Connection:
    """The server's end of a connection; `close` it when `requests` is exhausted."""

    def __init__(self, stream: socket) -> None:
        self._socket = stream
        self._protocol = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES)
        self._deadline = 0.0
        self._is_head = False

    def requests(self) -> Iterator[Request]:
        """The requests of the client, one after another, each to be answered before the next.

        Ends when the client has closed the connection, is idle for too long, or has sent what is
        no request, which is answered here.
        """
        while self._is(h11.IDLE):
            try:
                request = self._next()
            except (h11.RemoteProtocolError, BadRequest) as error:
                status = getattr(error, "status", 0) or getattr(error, "error_status_hint", 400)
                if self._is(h11.IDLE) or self._is(h11.SEND_RESPONSE):
                    self.respond(status, f"{error}\n".encode(), headers=[("connection", "close")])
                return
            except (TimeoutError, OSError):
                return
            if request is None:
                return
            self._is_head = request.method == "HEAD"
            yield request
            if self._is(h11.DONE):
                self._protocol.start_next_cycle()

    def respond(
        self, status: int, body: bytes = b"", *, kind: str = "text/plain", headers: Headers = ()
    ) -> None:
        """Answer a request, whole; HEAD without the body. kind: the media type; texts are UTF-8."""
        self.start(status, kind=kind, headers=[("content-length", str(len(body))), *headers])
        self.send(body)
        self.end()

    def start(self, status: int, *, kind: str, headers: Headers = ()) -> None:
        """Begin a response whose length is not known, unless a content-length is given."""
        media = f"{kind}; charset=utf-8" if kind.startswith("text/") else kind
        head = [("content-type", media), ("cache-control", "no-store"), *headers]
        self._write(h11.Response(status_code=status, headers=head))

    def send(self, data: bytes) -> None:
        """Send a part of the body. Raises OSError, TimeoutError if the client takes nothing."""
        if data and not self._is_head:
            self._write(h11.Data(data=data))

    def end(self) -> None:
        """End the response."""
        self._write(h11.EndOfMessage())

    def is_closed(self) -> bool:
        """Whether the client has closed its end; does not wait."""
        poll = select.poll()  # unlike select(2), for any number of descriptors
        poll.register(self._socket, select.POLLIN)
        if not poll.poll(0):
            return False
        try:
            return self._socket.recv(1, MSG_PEEK) == b""
        except OSError:
            return True

    def close(self) -> None:
        """Close the connection, so that the client still receives what was sent."""
        try:
            self._socket.shutdown(SHUT_WR)
        except OSError:
            pass  # it is closed already
        self._socket.close()

    def _is(self, state: object) -> bool:
        return self._protocol.our_state is state

    def _next(self) -> Request | None:
        """Receive a request; None at the end of the connection."""
        self._deadline = 0.0
        event = self._receive()
        if not isinstance(event, h11.Request):
            return None
        body = bytearray()
        while not isinstance(part := self._receive(), h11.EndOfMessage):
            if not isinstance(part, h11.Data):
                return None
            body += part.data
            if len(body) > BODY_BYTES:
                raise BadRequest(413, f"the body is longer than {BODY_BYTES} bytes")
        return Request(event, bytes(body))

    def _receive(self) -> object:
        """The next event of the protocol. Raises TimeoutError."""
        while True:
            event = self._protocol.next_event()
            if event is not h11.NEED_DATA:
                return event
            if self._protocol.they_are_waiting_for_100_continue:
                self._write(h11.InformationalResponse(status_code=100, headers=[]))
            self._protocol.receive_data(self._read())

    def _read(self) -> bytes:
        """Some bytes from the client; the first ones of a request start its time."""
        now = time.monotonic()
        left = self._deadline - now if self._deadline else IDLE_SECONDS
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)
        data = self._socket.recv(_PIECE)
        self._deadline = self._deadline or now + REQUEST_SECONDS
        return data

    def _write(self, event: h11.Event) -> None:
        data = self._protocol.send(event)
        if data:
            self._socket.settimeout(SEND_SECONDS)
            self._socket.sendall(data)
