"""Timestamps in Docker's format (RFC 3339, in UTC, with nanoseconds)."""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from datetime import datetime
else:
    from _datetime import datetime  # the same class, without the import of datetime.py

NEVER = "0001-01-01T00:00:00Z"  # Go's zero time, by which Docker means "not yet"


def timestamp(moment_ns: int | None = None) -> str:
    """Format a time like Docker, such as 2024-05-01T12:00:00.123456789Z; now by default."""
    now = time.time_ns() if moment_ns is None else moment_ns
    seconds, rest = divmod(now, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest:09d}Z"


def seconds_of(text: str) -> float:
    """Convert a timestamp to seconds since 1970; 0 for "" and for Go's zero time.

    Raises ValueError for an invalid timestamp.
    """
    if not text or text.startswith("0001-"):
        return 0.0
    return datetime.fromisoformat(text).timestamp()
