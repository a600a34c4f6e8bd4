"""How long a test waits: in seconds of the machine on which the suite was written.

    deadline = time.monotonic() + patience(5)      subprocess.run(..., timeout=patience(60))

An emulated machine is 6 to 10 times slower, and a busy one a few times; a limit that fits all would
have every hang last for minutes. So the machine's slowness is measured once, when a run starts: the
time that a Python takes from its start to the end of a small loop, against a reference.

A test that does the same at each of a hundred steps does it at every tenth on a slow machine, and
at every thirtieth on a very slow one, each such test at other ones (`steps`): it is run whole where
that is quick.

What is timed for its own sake (a container's sleep, the 10 s of `stop`) stays as it is.

What is worth minutes (ten minutes of fuzzing, a hundred containers) is done in a small part by each
run, and whole by `make long`, which sets MINIDOCK_LONG=1:

    ROUNDS = long(20, 2000)
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Sequence
from typing import TypeVar

REFERENCE_SECONDS = 0.036  # an estimate; busy, the machine of the suite took 0.045 at best
MOST = 40.0
SLOW, VERY_SLOW = 3.0, 6.0  # from here on, steps are sampled; more sparsely
STRIDE = 10

Step = TypeVar("Step")
Amount = TypeVar("Amount")

_VARIABLE = "MINIDOCK_SLOWNESS"
_WORK = "x = 0\nfor i in range(300_000): x += i * i % 7"


def measure() -> float:
    """How many times slower than the reference this machine is now; at least 1.

    The workers of a run, and all that it starts, get the number by the environment.
    """
    if _VARIABLE not in os.environ:
        times = [_once() for _ in range(9)]
        slowness = min(MOST, max(1.0, statistics.median(times) / REFERENCE_SECONDS))
        os.environ[_VARIABLE] = f"{slowness:.2f}"
    return float(os.environ[_VARIABLE])


def patience(seconds: float) -> float:
    """So many seconds of the reference machine, on this one."""
    return seconds * measure()


def await_true(
    holds: Callable[[], object], otherwise: str = "not in time", *, seconds: float = 10
) -> None:
    """Wait until something holds. otherwise: what to say if it does not in so many seconds."""
    deadline = time.monotonic() + patience(seconds)
    while not holds():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.02)


def is_long() -> bool:
    """Whether this run is `make long`'s, which takes hours and leaves nothing out."""
    return os.environ.get("MINIDOCK_LONG", "") == "1"


def long(part: Amount, whole: Amount) -> Amount:
    """How much of a test is done: a small part of it; the whole with MINIDOCK_LONG=1."""
    return whole if is_long() else part


def is_slow() -> bool:
    """Whether this machine is so slow that repetition is done in samples."""
    return measure() >= SLOW


def stride(slow: int, quick: int = 1) -> int:
    """How far apart the steps are that are done: `slow` on a slow machine, else `quick`; 1 by
    `make long`."""
    if is_long():
        return 1
    if not is_slow():
        return quick
    return 3 * slow if measure() >= VERY_SLOW else slow


def steps(every: Sequence[Step], name: str, *, apart: int = 1) -> Sequence[Step]:
    """All of them; on a slow machine some, the first of which depends on the name.

    apart: how far apart they are on a quick machine, unless the run is `make long`'s.
    """
    distance = stride(STRIDE, apart)
    return every[zlib.crc32(name.encode()) % min(distance, max(1, len(every))) :: distance]


def _once() -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-I", "-S", "-c", _WORK], check=True)
    return time.perf_counter() - started
