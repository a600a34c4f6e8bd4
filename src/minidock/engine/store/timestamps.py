"""Moments, written as Docker writes them (RFC 3339, in UTC, to the nanosecond)."""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from datetime import datetime
else:
    from _datetime import datetime  # the same class, without a module of Python around it

NEVER = "0001-01-01T00:00:00Z"  # Go's zero time, which Docker shows for "not yet"


def timestamp(moment_ns: int | None = None) -> str:
    """A moment as Docker writes it, such as 2024-05-01T12:00:00.123456789Z; now by default."""
    now = time.time_ns() if moment_ns is None else moment_ns
    seconds, rest = divmod(now, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest:09d}Z"


def seconds_of(text: str) -> float:
    """A document's moment as seconds since 1970; 0 for none, and for Go's zero time.

    Raises ValueError for an invalid timestamp.
    """
    if not text or text.startswith("0001-"):
        return 0.0
    return datetime.fromisoformat(text).timestamp()
