"""Sizes and times in Docker's human-readable form: "2.02MB", "About an hour"."""

from __future__ import annotations

import time

from minidock.engine.store.timestamps import seconds_of

moment_of = seconds_of  # "2024-05-06T07:08:09.123456789Z" -> seconds since 1970
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB")


def size(count: float, *, digits: int = 4) -> str:
    """Format bytes in powers of 1000, with up to `digits` digits: 2024607 -> "2.025MB"."""
    unit = 0
    while count >= 1000 and unit < len(_UNITS) - 1:
        count /= 1000
        unit += 1
    return f"{count:.{digits}g}{_UNITS[unit]}"


def binary_size(count: float) -> str:
    """Format a number of bytes in powers of 1024: "23.54GiB"."""
    units = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
    unit = 0
    while count >= 1024 and unit < len(units) - 1:
        count /= 1024
        unit += 1
    return f"{count:.4g}{units[unit]}"


def duration(seconds: float) -> str:
    """Format a duration: "Less than a second", "5 minutes", "About an hour", "3 weeks"."""
    hours = int(seconds / 3600 + 0.5)
    if seconds < 1:
        return "Less than a second"
    if seconds < 60:
        return "1 second" if int(seconds) == 1 else f"{int(seconds)} seconds"
    if seconds < 3600:
        minutes = int(seconds / 60)
        return "About a minute" if minutes == 1 else f"{minutes} minutes"
    if hours == 1:
        return "About an hour"
    for limit, divisor, unit in (
        (48, 1, "hours"),
        (24 * 7 * 2, 24, "days"),
        (24 * 30 * 2, 24 * 7, "weeks"),
        (24 * 365 * 2, 24 * 30, "months"),
    ):
        if hours < limit:
            return f"{hours // divisor} {unit}"
    return f"{int(seconds / 3600) // (24 * 365)} years"


def ago(moment: float) -> str:
    """Format the time since a timestamp (seconds since 1970)."""
    return f"{duration(time.time() - moment)} ago"


def local_time(moment: float) -> str:
    """Format a timestamp as Go prints a local time: "2024-05-06 09:08:09 +0200 CEST"."""
    return time.strftime("%Y-%m-%d %H:%M:%S %z %Z", time.localtime(int(moment)))


def go_time(timestamp: str) -> str:
    """Format a document's time as Go prints it: "2024-05-06 07:08:09.5 +0000 UTC"."""
    date, _, clock = timestamp.removesuffix("Z").partition("T")
    return f"{date} {clock} +0000 UTC"


def ellipsis(text: str, length: int) -> str:
    """Truncate a text to a length, with "…" at the cut."""
    return text if len(text) <= length else text[: length - 1] + "…"


def short_id(identifier: str) -> str:
    """Return the short form of an ID: twelve digits."""
    return identifier.rpartition(":")[2][:12]
