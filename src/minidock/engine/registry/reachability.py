"""Test within seconds whether a server is reachable.

Libraries try the addresses of a name one after the other; without internet access this can take
minutes. Here all addresses are tried in parallel, and the DNS query is sent once, with a timeout of
two seconds.

Source: RFC 8305 for the idea; connect(2) EINPROGRESS; resolv.conf(5) RES_OPTIONS.
"""

from __future__ import annotations

import errno
import os
import selectors
import socket
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    Address = tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]
    Found = tuple[socket.AddressFamily, socket.SocketKind, int, str, Address]


def reach(host: str, port: int, *, seconds: float) -> None:
    """Connect by TCP to any address of a host, and close the connection.

    Raises OSError: socket.gaierror for a name without an address, TimeoutError, or the error of the
    last address.
    """
    attempts = []
    try:
        for family, kind, protocol, _, address in _addresses(host, port):
            attempts.append((socket.socket(family, kind | socket.SOCK_NONBLOCK, protocol), address))
        _first_to_connect(attempts, time.monotonic() + seconds)
    finally:
        for attempt, _ in attempts:
            attempt.close()


def _addresses(host: str, port: int) -> list[Found]:
    """Resolve a name; the C library reads RES_OPTIONS before its first query."""
    own = os.environ.get("RES_OPTIONS")
    os.environ["RES_OPTIONS"] = own or "timeout:2 attempts:1"
    try:
        return [*socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    finally:
        if own is None:
            del os.environ["RES_OPTIONS"]


def _first_to_connect(attempts: list[tuple[socket.socket, Address]], deadline: float) -> None:
    """Connect all sockets in parallel; return when the first one is connected."""
    last = errno.ETIMEDOUT
    with selectors.DefaultSelector() as selector:
        for attempt, address in attempts:
            number = attempt.connect_ex(address)
            if number == 0:
                return
            if number == errno.EINPROGRESS:
                selector.register(attempt, selectors.EVENT_WRITE)
            else:
                last = number
        while selector.get_map() and (left := deadline - time.monotonic()) > 0:
            for key, _ in selector.select(left):
                attempt = key.fileobj  # type: ignore[assignment]
                number = attempt.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if number == 0:
                    return
                last = number
                selector.unregister(attempt)
    raise OSError(last, os.strerror(last))
