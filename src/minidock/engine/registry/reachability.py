"""Whether a server is there, known in a few seconds whatever the network does.

A library's connect tries one address after the other and waits for each; on a machine without
internet that can be minutes. Here all addresses of a name are tried at once, and the name server is
asked once, for two seconds.

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
    from typing import Any


def reach(host: str, port: int, *, seconds: float) -> None:
    """Return once a TCP connection to any address of a host stands; it is closed again.

    Raises OSError: socket.gaierror for a name that has no address, TimeoutError, or what the
    kernel said to the last address.
    """
    attempts = []
    try:
        for family, kind, protocol, _, address in _addresses(host, port):
            attempts.append((socket.socket(family, kind | socket.SOCK_NONBLOCK, protocol), address))
        _first_to_connect(attempts, time.monotonic() + seconds)
    finally:
        for attempt, _ in attempts:
            attempt.close()


def _addresses(host: str, port: int) -> list[tuple[Any, ...]]:
    """What a name stands for; the C library reads RES_OPTIONS when it first asks a server."""
    own = os.environ.get("RES_OPTIONS")
    os.environ["RES_OPTIONS"] = own or "timeout:2 attempts:1"
    try:
        return [*socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    finally:
        if own is None:
            del os.environ["RES_OPTIONS"]


def _first_to_connect(attempts: list[tuple[socket.socket, Any]], deadline: float) -> None:
    """Connect all of them at once, and return when one stands."""
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
