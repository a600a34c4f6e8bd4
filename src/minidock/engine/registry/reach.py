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


def reach(host: str, port: int, *, seconds: float) -> None:
    """Return once a TCP connection to any address of a host stands; it is closed again.

    Raises OSError: socket.gaierror for a name that has no address, TimeoutError, or what the
    kernel said to the last address.
    """
    os.environ.setdefault("RES_OPTIONS", "timeout:2 attempts:1")
    addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    deadline = time.monotonic() + seconds
    tried: list[socket.socket] = []
    problem: OSError = TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
    try:
        with selectors.DefaultSelector() as selector:
            for family, kind, protocol, _, address in addresses:
                try:
                    tried.append(attempt := socket.socket(family, kind, protocol))
                    attempt.setblocking(False)
                    started = attempt.connect_ex(address)
                except OSError as error:  # a family that this kernel has not
                    problem = error
                    continue
                if started == 0:
                    return
                if started == errno.EINPROGRESS:
                    selector.register(attempt, selectors.EVENT_WRITE)
                else:
                    problem = OSError(started, os.strerror(started))
            while selector.get_map() and (left := deadline - time.monotonic()) > 0:
                for key, _ in selector.select(left):
                    ended = key.fileobj
                    assert isinstance(ended, socket.socket)
                    number = ended.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                    if number == 0:
                        return
                    problem = OSError(number, os.strerror(number))
                    selector.unregister(ended)
    finally:
        for attempt in tried:
            attempt.close()
    raise problem
