"""A server that sends its answers byte by byte, each before its client's patience ends.

    with dripping(b"HTTP/1.1 200 OK\\r\\nX: ", b"a" * 999) as host:      the second part drips

What it drips takes at most `ENDS_SECONDS`: a client without a limit fails then, and does not hang.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from support.registry import Authority

ENDS_SECONDS = 12.0
_PAUSE_SECONDS = 0.1


@contextmanager
def serving(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server on loopback for as long as the block lasts: "127.0.0.1:PORT".

    answer: called with each connection, in a thread of its own.
    """

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listening.accept()
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, daemon=True).start()
        try:
            yield f"127.0.0.1:{listening.getsockname()[1]}"
        finally:
            listening.shutdown(socket.SHUT_RDWR)


@contextmanager
def dripping(at_once: bytes, drips: bytes, *, authority: Authority | None = None) -> Iterator[str]:
    """Such a server for as long as the block lasts: "127.0.0.1:PORT"."""
    ended = threading.Event()
    context = None
    if authority is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(authority.server_certificate, authority.server_key)

    def answer(plain: socket.socket) -> None:
        with contextlib.suppress(OSError), plain:
            with contextlib.ExitStack() as stack:
                sock = plain
                if context is not None:
                    sock = stack.enter_context(context.wrap_socket(plain, server_side=True))
                while b"\r\n\r\n" not in sock.recv(1 << 16):
                    pass
                sock.sendall(at_once)
                until = time.monotonic() + ENDS_SECONDS
                for byte in drips:
                    if time.monotonic() > until or ended.wait(_PAUSE_SECONDS):
                        return
                    sock.sendall(bytes([byte]))

    with serving(answer) as host:
        try:
            yield host
        finally:
            ended.set()
