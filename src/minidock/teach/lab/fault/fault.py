"""A fault: what puts it into the set-up, what it breaks, and one way to take it out again."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from minidock.numerals import is_decimal

# A seed that is a number N names the Nth fault of an order in which neighbours are unlike; it comes
# from the names, so it is the same on every machine. The word only picks a pleasant one.
_ORDER = "bread and cheese"


@dataclass(frozen=True)
class Fault:
    """One fault.

    name: for tests and for who has found it. part: what it is put into: tests try another part's
    repair on it. breaks: the promises (promises.py) that are not kept then: all of them. inject,
    fix: scripts for Shop.sh; the fix does no harm where nothing is broken. cause: what was wrong,
    as a sentence for who has repaired it. look: what shows it, the best first. also: promises that
    it breaks on some machines. undo: a script that takes away what would outlive the set-up, and
    may be run at any time; its variables are of the moment before the fault. shared: what it does
    to others on this machine, "" where nothing.
    """

    name: str
    part: str
    breaks: tuple[str, ...]
    inject: str
    fix: str
    cause: str
    look: tuple[str, ...]
    also: tuple[str, ...] = ()
    undo: str = ""
    shared: str = ""


def choose(faults: tuple[Fault, ...], seed: str) -> Fault:
    """The fault that a seed names: a number, or any word, such as a student's name."""
    order = sorted(faults, key=lambda fault: zlib.crc32(f"{_ORDER}{fault.name}".encode()))
    number = int(seed) if is_decimal(seed) else zlib.crc32(seed.encode())
    return order[number % len(order)]
