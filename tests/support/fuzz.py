"""Made-up input for a parser: it answers or refuses in its own words, quickly, in little memory.

    fuzz(parse_template, made(template), refuses=TemplateError)

What a parser may raise is named; any other exception, more than `SECONDS` of the processor, or more
than `MEMORY` beyond what the process has, is a defect, and the input is shown. Inputs that once
were defects stand in tests/fuzz/corpus/ or beside their test, and are tried first.

A run begins with the same inputs each time (so a failure is seen again), and goes on with new ones
until its seconds are over: `SHARE`, or MINIDOCK_FUZZ_SECONDS divided by the number of targets.
MINIDOCK_FUZZ_COUNTS names a file to which each target adds a line: how many inputs it had.
"""

from __future__ import annotations

import os
import random
import resource
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from support.patience import long, patience

SECONDS = 2.0
MEMORY = 512 << 20
TARGETS = 26  # about as many as there are: each gets its part of the time
SHARE = long(2.0, 600 / TARGETS)
CORPUS = Path(__file__).parent.parent / "fuzz" / "corpus"

# Text that parsers stumble over: other scripts' digits, controls, halves of surrogate pairs, …
ODD = [
    "\0", "\n", "\r", "\x1b[31m", "\x85", "\u2028", "\u202e", "\u0660", "\u00b2", "\u0661\u0662",
    "\udc80", "\ud800", "\ufeff", "\U0010ffff", "ß", "İ", " ", "\t", "\\", '"', "'", "`", "-", "+",
    "_", "1_000", "0x10", "+5", " 5", "-1", "0", "00", "1e9", "inf", "nan", "9" * 30, "9" * 5000,
    "[", "]", "(", ")", "{", "}", "*", "?", "**", "..", "/", ":", ",", "=", "@", "#", "$", "%", "!",
]  # fmt: skip


class TooMuch(BaseException):
    """An input took too much of the processor; no parser catches it."""


def odd_text(*words: str, size: int = 12) -> st.SearchStrategy[str]:
    """A parser's own words, odd text and any characters, in any order."""
    piece = st.one_of(st.sampled_from([*words, *words, *ODD]), st.text(max_size=4))
    return st.lists(piece, max_size=size).map("".join)


def made(make: Callable[[random.Random], Any]) -> st.SearchStrategy[Any]:
    """What a function makes by chance: quicker than hypothesis's own recursion, for grammars."""
    return st.integers(0, (1 << 64) - 1).map(lambda number: make(random.Random(number)))


def mutated(*samples: bytes) -> st.SearchStrategy[bytes]:
    """Whole inputs of which some bytes were changed, cut out, doubled or put in."""
    return st.builds(_mutate, st.sampled_from(samples), st.integers(0, 1 << 64))


def _mutate(sample: bytes, number: int) -> bytes:
    chosen = random.Random(number)
    data = bytearray(sample)
    for _ in range(chosen.randint(1, 6)):
        start = chosen.randint(0, len(data))
        end = min(len(data), start + chosen.choice((0, 1, 1, 2, 8, 64)))
        put = chosen.choice((
            bytes(chosen.randrange(256) for _ in range(chosen.choice((0, 1, 2, 4)))),
            data[start:end] * 2,
            chosen.choice(ODD).encode("utf-8", "surrogatepass"),
        ))  # fmt: skip
        data[start:end] = put
    return bytes(data)


def as_text(data: bytes) -> str:
    """Bytes as the command line and files give them to a parser of text."""
    return data.decode("utf-8", "surrogateescape")


def corpus(target: str) -> list[bytes]:
    """The inputs that once were defects of a target."""
    return [path.read_bytes() for path in sorted((CORPUS / target).glob("*"))]


def fuzz(
    act: Callable[[Any], object],
    inputs: st.SearchStrategy[Any],
    *,
    refuses: type[Exception] | tuple[type[Exception], ...],
    known: list[Any] | None = None,
    examples: int = 100,
) -> None:
    """Try a parser, with `known` inputs first.

    refuses: what it raises on purpose. examples: how many inputs a round has.
    """

    count = 0

    def attempt(data: Any) -> None:
        nonlocal count
        count += 1
        with limited():
            try:
                act(data)
            except refuses:
                pass

    for data in known or []:
        try:
            attempt(data)
        except BaseException as error:
            error.add_note(f"known input: {repr(data)[:500]}")
            raise
    seconds = float(os.environ.get("MINIDOCK_FUZZ_SECONDS", "0")) / TARGETS or SHARE
    end = time.monotonic() + seconds
    for number in _rounds(end):
        run = given(inputs)(attempt)
        run = settings(
            max_examples=examples, deadline=None, database=None, print_blob=True,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.generate, Phase.shrink),
        )(run)  # fmt: skip
        seed(number)(run)()
    if counts := os.environ.get("MINIDOCK_FUZZ_COUNTS"):
        with open(counts, "a") as file:
            file.write(f"{count} {os.environ.get('PYTEST_CURRENT_TEST', '')}\n")


def _rounds(end: float) -> Iterator[int]:
    """Seeds: the first is always the same."""
    yield 1
    while time.monotonic() < end:
        yield random.SystemRandom().getrandbits(64)


@contextmanager
def limited() -> Iterator[None]:
    """What the block may take of the processor and of memory."""

    def expire(number: int, frame: object) -> None:
        raise TooMuch(f"more than {SECONDS} s of the processor")

    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MEMORY
    handler = signal.signal(signal.SIGPROF, expire)
    resource.setrlimit(resource.RLIMIT_AS, (most, before[1]))
    signal.setitimer(signal.ITIMER_PROF, patience(SECONDS))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_AS, before)
        signal.signal(signal.SIGPROF, handler)
