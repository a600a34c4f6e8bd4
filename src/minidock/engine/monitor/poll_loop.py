"""A poll loop: descriptors, and who is called when one is ready."""

from __future__ import annotations

import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

READABLE = select.POLLIN
WRITABLE = select.POLLOUT
_ENDED = select.POLLHUP | select.POLLERR | select.POLLNVAL


class Loop:
    """Waits on many descriptors at once; one handler each."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._handlers: dict[int, Callable[[int], object]] = {}

    def watch(self, fd: int, events: int, handler: Callable[[int], object]) -> None:
        """Call handler(events) when the descriptor is ready, or its other end has gone."""
        self._poll.register(fd, events)
        self._handlers[fd] = handler

    def change(self, fd: int, events: int) -> None:
        """Wait for other events of a watched descriptor."""
        if fd in self._handlers:
            self._poll.modify(fd, events)

    def forget(self, fd: int) -> None:
        """Watch it no longer; nothing happens where it is not watched."""
        if self._handlers.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def watches(self, fd: int) -> bool:
        return fd in self._handlers

    def turn(self, timeout_ms: int | None = None) -> None:
        """Wait once, and call the handlers of what is ready.

        An earlier handler of the turn may have closed a descriptor, and a new one have its number:
        what was ready was not that one.
        """
        ready = [(fd, events, self._handlers[fd]) for fd, events in self._poll.poll(timeout_ms)]
        for fd, events, handler in ready:
            if self._handlers.get(fd) is handler:
                handler(events)


def ended(events: int) -> bool:
    """Whether the other end has gone."""
    return bool(events & _ENDED)
