"""Progress of a build, as events for cli/output/build_progress.py.

A build consists of *vertices* (BuildKit's term): load the context, each step, the export. A vertex
begins, writes output, and ends: done, cached, failed or cancelled. Several run at the same time, in
threads.
"""

from __future__ import annotations


class Vertex:
    """One unit of work of a build. This base class shows nothing.

    name: such as "[2/4] RUN make". output: the end of its output, for an error message.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.output = bytearray()

    def begin(self) -> None:
        """Mark the vertex as started."""

    def write(self, data: bytes) -> None:
        """Take output of its command, from stdout or stderr."""
        self.output += data
        del self.output[:-_KEPT_BYTES]

    def say(self, line: str) -> None:
        """Take a line of the builder itself, such as "transferring context: 3B done"."""

    def done(self) -> None:
        """Mark it as successful."""

    def cached(self) -> None:
        """Mark its result as taken from the cache."""

    def failed(self, message: str) -> None:
        """Mark it as failed."""

    def cancelled(self) -> None:
        """Mark it as cancelled, because another one failed."""


class Progress:
    """Makes vertices. This base class shows nothing."""

    def vertex(self, name: str) -> Vertex:
        """A new vertex, not started."""
        return Vertex(name)

    def close(self) -> None:
        """End the output: the build has ended."""


_KEPT_BYTES = 1 << 16
