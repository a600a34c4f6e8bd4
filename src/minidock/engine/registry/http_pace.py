"""How slow an HTTP server may be: all headers in time, and a least speed for the content.

    headers    of an answer, also of a proxy's to CONNECT: complete within the read timeout
    content    1000 bytes a second, over each read timeout's worth of waiting

A socket's own timeout is for one recv(2): a server that sends a byte just before each of them
runs out keeps a client for ever. So the connections here count what comes, and how long they waited
for it, below everything that reads: status lines, headers, chunk sizes, trailers and content. Time
in which nobody reads (a slow disk) does not count.

Source: curl(1) --speed-limit, --speed-time; socket(7) SO_RCVTIMEO; urllib3's user guide.
"""

from __future__ import annotations

import socket
import ssl
import time
from http.client import HTTPException

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from urllib3 import BaseHTTPResponse, HTTPResponse

    Received = TypeVar("Received")
    Manager = TypeVar("Manager", bound=urllib3.PoolManager)

BYTES_PER_SECOND_MIN = 1000
_DISCARDED_MAX = 1 << 16


class TooSlow(TimeoutError):
    """Something came before each timeout, and too little in all."""


class Paced(socket.socket):
    """A socket that raises TooSlow for a peer that keeps it waiting.

    Until `expect_content` there is one deadline, a timeout after the first recv(2) or after
    `expect_headers`.
    """

    _deadline: float | None = None
    _window_seconds = 0.0
    _waiting_seconds = 0.0
    _received_bytes = 0

    def expect_headers(self, seconds: float) -> None:
        """From now on, what is read must all have come within these seconds."""
        self._window_seconds = 0.0
        self._deadline = time.monotonic() + seconds

    def expect_content(self, seconds: float) -> None:
        """From now on, what comes while we wait must have the least speed, over these seconds."""
        self.settimeout(seconds)
        self._window_seconds = seconds
        self._waiting_seconds, self._received_bytes = 0.0, 0

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """As recv(2). Raises TooSlow, TimeoutError, OSError."""
        return self._count(lambda: super(Paced, self).recv(size, flags), len)

    def recv_into(self, buffer: object, size: int = 0, flags: int = 0) -> int:
        """As recv(2), into a buffer. Raises TooSlow, TimeoutError, OSError."""
        receive = super().recv_into
        return self._count(lambda: receive(buffer, size, flags), int)  # type: ignore[arg-type]

    def _count(
        self, receive: Callable[[], Received], size_of: Callable[[Received], int]
    ) -> Received:
        began = time.monotonic()
        if not self._window_seconds:
            self._limit_to_deadline(began)
        got = receive()
        self._received_bytes += size_of(got)
        self._waiting_seconds += time.monotonic() - began
        if self._window_seconds and self._waiting_seconds >= self._window_seconds:
            if self._received_bytes < BYTES_PER_SECOND_MIN * self._window_seconds:
                raise TooSlow(
                    f"{self._received_bytes} bytes in {self._waiting_seconds:.0f} s are too slow"
                    f" (at least {BYTES_PER_SECOND_MIN} B/s)"
                )
            self._waiting_seconds, self._received_bytes = 0.0, 0
        return got

    def _limit_to_deadline(self, now: float) -> None:
        if (seconds := self.gettimeout()) is None:
            return
        if self._deadline is None:
            self._deadline = now + seconds
        if now >= self._deadline:
            raise TooSlow("the headers do not come to an end")
        self.settimeout(self._deadline - now)


class _PacedTLS(Paced, ssl.SSLSocket):  # type: ignore[misc]
    pass


class _PacedConnection(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        plain = super()._new_conn()
        paced = Paced(fileno=plain.detach())
        paced.settimeout(self.timeout)
        return paced

    def connect(self) -> None:
        super().connect()
        self.sock.settimeout(self.timeout)  # a proxy's CONNECT has used some of it

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]
        sock, seconds = self.sock, self.timeout
        while sock is not None and not isinstance(sock, Paced):
            sock = getattr(sock, "socket", None)  # TLS to a server within TLS to a proxy
        if sock is None or seconds is None:
            return super().getresponse()
        sock.expect_headers(seconds)
        response = super().getresponse()
        sock.expect_content(seconds)
        return response


class _PacedTLSConnection(_PacedConnection, HTTPSConnection):
    pass


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _PacedConnection


class _TLSPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _PacedTLSConnection


def tls_context() -> ssl.SSLContext:
    """The host's authorities, for connections that keep the pace."""
    context = ssl.create_default_context()
    context.sslsocket_class = _PacedTLS
    return context


def pace(pools: Manager) -> Manager:
    """Have the connections of a new pool manager keep the pace; returns it.

    Its TLS contexts are from `tls_context`, also the one for a proxy.
    """
    pools.pool_classes_by_scheme = {"http": _Pool, "https": _TLSPool}
    return pools


def discard(response: BaseHTTPResponse) -> None:
    """Have done with an answer whose content nobody needs, however long or broken that is.

    A short content is read, so that the connection can be used again.
    """
    try:
        if len(response.read(_DISCARDED_MAX, decode_content=False)) < _DISCARDED_MAX:
            response.release_conn()
            return
    except (HTTPError, HTTPException, OSError, ValueError):  # the connection is of no use
        pass
    response.close()
