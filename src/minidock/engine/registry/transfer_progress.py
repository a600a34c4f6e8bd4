"""What a pull or a push tells while it works; who listens decides how that looks.

The statuses are Docker's: a layer is "Pulling fs layer", "Downloading", "Pull complete", "Already
exists"; or "Preparing", "Pushing", "Pushed", "Layer already exists", "Mounted from NAME".
"""

from __future__ import annotations


class Reporter:
    """Hears how far things are; this one keeps it to itself.

    Called from several threads, one call at a time is up to whoever overrides it.
    """

    def line(self, text: str) -> None:
        """One line for the user, such as "latest: Pulling from library/busybox"."""

    def layer(self, name: str, status: str, done: int = 0, total: int = 0) -> None:
        """A layer's state; done and total: bytes, where the status is one that takes time."""
