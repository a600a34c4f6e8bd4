"""Sockets watched together: one descriptor that is readable when any of them is ready.

An epoll instance can itself be polled, so a poll loop that knows nothing of these sockets needs a
single entry for all of them. Source: epoll(7).
"""

from __future__ import annotations

from select import epoll

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    class HasDescriptor(Protocol):
        """A socket, or whatever else the kernel tells to be ready."""

        def fileno(self) -> int: ...


class PollSet:
    """A set of sockets, each with the events that it waits for and a function to call.

    fd: the descriptor to poll for all of them.
    """

    def __init__(self) -> None:
        self._epoll = epoll()
        self.fd = self._epoll.fileno()
        self._watched: dict[int, tuple[int, Callable[[], None]]] = {}

    def watch(self, watched: HasDescriptor, events: int, handler: Callable[[], None]) -> None:
        """Have `handler` called when one of these events (EPOLLIN, EPOLLOUT) comes.

        With 0 the socket is not watched at all: one that is merely registered would still report
        a hang-up, for ever and to nobody. A socket must be unwatched before it is closed.
        """
        descriptor = watched.fileno()
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
        """Call the handlers of all sockets that are ready now.

        A handler may end sockets whose turn would come after it, and open others, which get their
        numbers. Who is watched anew meanwhile waits for the next time.
        """
        ready = [(number, self._watched.get(number)) for number, _ in self._epoll.poll(0)]
        for descriptor, known in ready:
            if known is not None and self._watched.get(descriptor) is known:
                known[1]()

    def close(self) -> None:
        """Watch nothing any more."""
        self._epoll.close()
