"""Progress of a pull or a push, as events for the output.

The statuses of a layer are Docker's: "Pulling fs layer", "Downloading", "Pull complete", "Already
exists"; "Preparing", "Pushing", "Pushed", "Layer already exists", "Mounted from NAME".
"""

from __future__ import annotations


class Reporter:
    """Receives progress. This base class shows nothing.

    It is called from several threads; subclasses serialise the calls.
    """

    def line(self, text: str) -> None:
        """Take a line for the user, such as "latest: Pulling from library/busybox"."""

    def layer(self, name: str, status: str, done: int = 0, total: int = 0) -> None:
        """Take a layer's status; done, total: bytes, for statuses with a progress bar."""
