"""The one exception by which an exam takes points, and the limits of time that fit the machine."""

from __future__ import annotations

import os
import time
from functools import cache

_REFERENCE_SECONDS = 0.0035  # the loop below, on the machine for which limits are written
_MAX_SLOWNESS = 40.0


class Failure(Exception):
    """An item's points are lost; the text says what was seen.

    Such as "the command's PID is 71, and it sees 112 processes". Any other exception out of an exam
    is the grader's own failure, and is reported as such: no points are taken or given.
    """


@cache
def slowness() -> float:
    """How many times slower this machine is than the one for which limits are written; at least 1.

    MINIDOCK_SLOWNESS overrules what is measured: three short loops, the best of them.
    """
    if override := os.environ.get("MINIDOCK_SLOWNESS"):
        return max(1.0, float(override))
    return min(_MAX_SLOWNESS, max(1.0, min(_time_loop() for _ in range(3)) / _REFERENCE_SECONDS))


def scale_timeout(seconds: float) -> float:
    """So many seconds of a quick machine, on this one."""
    return seconds * slowness()


def _time_loop() -> float:
    started = time.perf_counter()
    x = 0
    for i in range(60_000):
        x += i * i % 7
    return time.perf_counter() - started
