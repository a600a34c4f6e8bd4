"""Time limits for slow HTTP servers: a deadline for headers, a minimum speed for content.

    headers    of a response, also to CONNECT: complete within the read timeout
    content    1000 bytes a second, over each period of waiting as long as the read timeout

A socket timeout limits a single recv(2): a server that sends a byte just before each timeout would
block a client forever. So these sockets count the received bytes and the time spent in recv(2), for
status lines, headers, chunk sizes, trailers and content alike. Time between reads (a slow disk)
does not count.

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
    """The server sent less than the minimum, although no single read timed out."""


class Paced(socket.socket):
    """A socket that raises TooSlow for a slow peer.

    Before `expect_content`, one deadline holds: the timeout, counted from `expect_headers` or the
    first recv(2).
    """

    _deadline: float | None = None
    _window_seconds = 0.0
    _waiting_seconds = 0.0
    _received_bytes = 0

    def expect_headers(self, seconds: float) -> None:
        """Set a deadline for all following reads."""
        self._window_seconds = 0.0
        self._deadline = time.monotonic() + seconds

    def expect_content(self, seconds: float) -> None:
        """Require the minimum speed for all following reads, measured over these seconds."""
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
            raise TooSlow("the headers are incomplete at the deadline")
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
        self.sock.settimeout(self.timeout)  # CONNECT to a proxy has lowered it

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]
        sock, seconds = self.sock, self.timeout
        while sock is not None and not isinstance(sock, Paced):
            sock = getattr(sock, "socket", None)  # TLS within TLS to a proxy
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
    """A TLS context with the host's certificate authorities, for connections with time limits."""
    context = ssl.create_default_context()
    context.sslsocket_class = _PacedTLS
    return context


def pace(pools: Manager) -> Manager:
    """Apply the time limits to a new pool manager; returns it.

    Its TLS contexts, also that for a proxy, must come from `tls_context`.
    """
    pools.pool_classes_by_scheme = {"http": _Pool, "https": _TLSPool}
    return pools


def discard(response: BaseHTTPResponse) -> None:
    """Discard the content of a response, however long or broken.

    Reads a short content, so that the connection can be reused.
    """
    try:
        if len(response.read(_DISCARDED_MAX, decode_content=False)) < _DISCARDED_MAX:
            response.release_conn()
            return
    except (HTTPError, HTTPException, OSError, ValueError):  # the connection cannot be reused
        pass
    response.close()
