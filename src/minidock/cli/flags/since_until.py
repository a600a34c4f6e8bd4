"""Timestamps of --since, --until and until=: "42m" (ago), "2024-05-06T07:08:09Z", seconds."""

from __future__ import annotations

import time
from datetime import datetime

from minidock.cli.flags.units import duration_nanoseconds
from minidock.numerals import decimal_fraction


def parse_timestamp(text: str) -> float:
    """Parse a timestamp; returns seconds since 1970.

    A duration ("10m", "1h30m") counts back from now; a date without a zone is local time.
    Raises ValueError.
    """
    try:
        return time.time() - duration_nanoseconds(text) / 1e9
    except ValueError:
        pass  # not a duration: a number or a date
    try:
        return decimal_fraction(text)
    except ValueError:
        pass
    try:
        if not text.isascii():
            raise ValueError
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        raise ValueError(f'failed to parse value as time or duration: "{text}"') from None
