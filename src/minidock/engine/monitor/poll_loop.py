"""A poll loop: descriptors and their handlers."""

from __future__ import annotations

import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

READABLE = select.POLLIN
WRITABLE = select.POLLOUT
_ENDED = select.POLLHUP | select.POLLERR | select.POLLNVAL


class Loop:
    """Polls descriptors, each with one handler."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._handlers: dict[int, Callable[[int], object]] = {}

    def watch(self, fd: int, events: int, handler: Callable[[int], object]) -> None:
        """Call handler(events) when the descriptor is ready, or its other end has closed."""
        self._poll.register(fd, events)
        self._handlers[fd] = handler

    def change(self, fd: int, events: int) -> None:
        """Change the events of a watched descriptor."""
        if fd in self._handlers:
            self._poll.modify(fd, events)

    def forget(self, fd: int) -> None:
        """Stop watching a descriptor; does nothing if it is not watched."""
        if self._handlers.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def watches(self, fd: int) -> bool:
        return fd in self._handlers

    def turn(self, timeout_ms: int | None = None) -> None:
        """Poll once, and call the handlers of the ready descriptors.

        A handler may close a descriptor, and a new one may reuse its number in the same turn: skip
        it, since its handler differs.
        """
        ready = [(fd, events, self._handlers[fd]) for fd, events in self._poll.poll(timeout_ms)]
        for fd, events, handler in ready:
            if self._handlers.get(fd) is handler:
                handler(events)


def ended(events: int) -> bool:
    """Whether the other end has closed."""
    return bool(events & _ENDED)
