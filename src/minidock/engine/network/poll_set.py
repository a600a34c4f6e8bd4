"""A set of sockets behind one descriptor, which is readable when any of them is ready.

An epoll instance can itself be polled: the monitor's poll loop needs one entry for all of these
sockets. Source: epoll(7).
"""

from __future__ import annotations

from select import epoll

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    class HasDescriptor(Protocol):
        """A socket, or another object with a descriptor that epoll supports."""

        def fileno(self) -> int: ...


class PollSet:
    """Sockets, each with its epoll events and a handler.

    fd: the epoll descriptor, to be polled.
    """

    def __init__(self) -> None:
        self._epoll = epoll()
        self.fd = self._epoll.fileno()
        self._watched: dict[int, tuple[int, Callable[[], None]]] = {}

    def watch(self, source: HasDescriptor, events: int, handler: Callable[[], None]) -> None:
        """Call `handler` on these events of a socket (EPOLLIN, EPOLLOUT).

        0 removes the socket: a registered one would report EPOLLHUP even without events. Remove a
        socket before closing it.
        """
        descriptor = source.fileno()
        before, _ = self._watched.pop(descriptor, (0, handler))
        if events and not before:
            self._epoll.register(descriptor, events)
        elif events and events != before:
            self._epoll.modify(descriptor, events)
        elif before and not events:
            self._epoll.unregister(descriptor)
        if events:
            self._watched[descriptor] = (events, handler)

    def handle(self) -> None:
        """Call the handlers of all sockets that are ready.

        A handler may close other ready sockets and open new ones that reuse their descriptors: a
        socket added meanwhile waits until the next call.
        """
        ready = [(number, self._watched.get(number)) for number, _ in self._epoll.poll(0)]
        for descriptor, known in ready:
            if known is not None and self._watched.get(descriptor) is known:
                known[1]()

    def close(self) -> None:
        """Close the epoll descriptor."""
        self._epoll.close()
