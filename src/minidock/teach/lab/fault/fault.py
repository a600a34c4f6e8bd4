"""A fault: the script that injects it, the promises that it breaks, and one way to fix it."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from minidock.numerals import is_decimal

# A seed that is a number N selects the Nth fault of an order in which neighbours differ. The order
# comes from a hash of the names, so it is the same on every machine; this word is its salt.
_ORDER = "eggs and lemon"


@dataclass(frozen=True)
class Fault:
    """One fault.

    name: for tests, and shown after the repair. part: the broken part; tests try another part's fix
    on it. breaks: all promises (promises.py) that it breaks. inject, fix: scripts for Shop.sh; the
    fix is harmless if nothing is broken. cause: what was wrong, shown after the repair. look:
    commands that show it, the best first. also: promises that it breaks on some machines. undo: a
    script that removes what would outlive the set-up, at any time; its variables are from before
    the fault. shared: its effect on others on this machine, or "".
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
    """The fault of a seed: a number, or any word, such as a student's name."""
    order = sorted(faults, key=lambda fault: zlib.crc32(f"{_ORDER}{fault.name}".encode()))
    number = int(seed) if is_decimal(seed) else zlib.crc32(seed.encode())
    return order[number % len(order)]
