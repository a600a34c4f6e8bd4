"""What a build tells of itself while it goes on; cli/output/build_progress.py shows it.

A build is a row of *vertices*, as BuildKit calls them: the loading of the context, each step, the
export. Each begins, says lines, and ends: done, cached, failed or cancelled. Several go on at the
same time, in threads.
"""

from __future__ import annotations


class Vertex:
    """One thing that a build does; this one is shown to nobody.

    name: such as "[2/4] RUN make". output: the last that it said, for the error that it may cause.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.output = bytearray()

    def begin(self) -> None:
        """It starts."""

    def write(self, data: bytes) -> None:
        """What its command said, on stdout or stderr."""
        self.output += data
        del self.output[:-_KEPT_BYTES]

    def say(self, line: str) -> None:
        """A line of the builder's own, such as "transferring context: 3B done"."""

    def done(self) -> None:
        """It has ended well."""

    def cached(self) -> None:
        """Its result was there already."""

    def failed(self, message: str) -> None:
        """It has ended badly."""

    def cancelled(self) -> None:
        """It has been stopped, because another one failed."""


class Progress:
    """Makes vertices; this one's are shown to nobody."""

    def vertex(self, name: str) -> Vertex:
        """A vertex that has not begun."""
        return Vertex(name)

    def close(self) -> None:
        """The build has ended: nothing more is shown."""


_KEPT_BYTES = 1 << 16
