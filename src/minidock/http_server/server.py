"""Accepting connections: a thread for each, so many at once and no more.

A thread costs little here: pages are for one class, and each connection waits most of the time.
When all places are taken, a new connection is answered with 503, so that a client cannot make the
server hold more than CONNECTIONS_MOST threads and descriptors.
"""

from __future__ import annotations

import time
from threading import BoundedSemaphore, Thread

from minidock.http_server.connection import BadRequest, Connection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from socket import socket

    from minidock.http_server.connection import Request

    Handler = Callable[[Connection, Request], None]

CONNECTIONS_MOST = 32
_PAUSE_SECONDS = 0.05
_BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Server:
    """Serves requests on a listening socket.

    handle: answers a request; called in a thread of its connection. Raises BadRequest.
    """

    def __init__(self, listening: socket, handle: Handler) -> None:
        self._listening = listening
        self._handle = handle
        self._places = BoundedSemaphore(CONNECTIONS_MOST)

    def serve(self) -> None:
        """Accept connections; ends by an exception, such as KeyboardInterrupt."""
        while True:
            try:
                stream, _ = self._listening.accept()
            except OSError:
                time.sleep(_PAUSE_SECONDS)  # the client has gone, or no descriptor is free
                continue
            if self._places.acquire(blocking=False):
                Thread(target=self._run, args=[stream], daemon=True).start()
            else:
                _refuse(stream)

    def _run(self, stream: socket) -> None:
        try:
            self._converse(Connection(stream))
        finally:
            self._places.release()

    def _converse(self, connection: Connection) -> None:
        try:
            for request in connection.requests():
                try:
                    self._handle(connection, request)
                except BadRequest as error:
                    connection.respond(error.status, f"{error}\n".encode())
        except OSError:
            pass  # the client has gone, or takes nothing
        finally:
            connection.close()


def _refuse(stream: socket) -> None:
    """Answer that all places are taken, without waiting for the client."""
    stream.setblocking(False)
    try:
        stream.send(_BUSY)
    except OSError:
        pass  # the client has gone
    stream.close()
