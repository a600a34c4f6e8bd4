"""The exception by which a probe fails, and timeouts scaled to the machine."""

from __future__ import annotations

import os
import time
from functools import cache

_REFERENCE_SECONDS = (
    0.0035  # the loop below, on the reference machine, for which timeouts are written
)
_MAX_SLOWNESS = 40.0


class Failure(Exception):
    """An item's points are lost; the text says what the probe saw.

    Such as "the command's PID is 71, and it sees 112 processes". Any other exception of an exam is
    an error of the grader: it is reported as one, and there is no grade.
    """


@cache
def slowness() -> float:
    """How many times slower this machine is than the reference machine; at least 1.

    Measured: the best of three short loops. MINIDOCK_SLOWNESS overrides it.
    """
    if override := os.environ.get("MINIDOCK_SLOWNESS"):
        return max(1.0, float(override))
    return min(_MAX_SLOWNESS, max(1.0, min(_time_loop() for _ in range(3)) / _REFERENCE_SECONDS))


def scale_timeout(seconds: float) -> float:
    """Convert seconds of the reference machine to seconds of this one."""
    return seconds * slowness()


def _time_loop() -> float:
    started = time.perf_counter()
    x = 0
    for i in range(60_000):
        x += i * i % 7
    return time.perf_counter() - started
