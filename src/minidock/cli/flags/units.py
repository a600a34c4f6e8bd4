"""Parse sizes, CPU counts, durations and port ranges in Docker's syntax.

Each function raises ValueError with Docker's message for invalid text.
"""

from __future__ import annotations

import math

from minidock.numerals import decimal_fraction, is_decimal

_POWER = {"k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_SIZE = r"([0-9]+(?:\.[0-9]+)?) ?([kmgtp]?)i?b?"
_INT64_MAX = (1 << 63) - 1
_RATIONAL = r"[+-]?[0-9]+(?:/[0-9]+|(?:\.[0-9]*)?(?:[eE][+-]?[0-9]{1,3})?)|[+-]?\.[0-9]+"
_DURATION_PIECE = (
    r"([0-9]++(?:\.[0-9]*+)?+|\.[0-9]++)(ns|us|µs|ms|s|m|h)"  # possessive: no backtracking
)
_NANOSECONDS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}


def size_bytes(text: str) -> int:
    """Parse a size such as "512m", "1.5g", "64KiB" or "1000" into bytes; units are powers of 1024.

    A size beyond 64 bits becomes 2**63, which the engine refuses.
    """
    import re

    match = re.fullmatch(_SIZE, text, re.ASCII | re.IGNORECASE)
    if match is None:
        raise ValueError(f"invalid size: '{text}'")
    power = _POWER[match[2].lower()] if match[2] else 0
    try:
        return min(int(decimal_fraction(match[1]) * 1024**power), _INT64_MAX + 1)
    except ValueError:
        raise ValueError(f"invalid size: '{text}'") from None


def swap_bytes(text: str) -> int:
    """Parse a size, or -1 for unlimited swap."""
    return -1 if text == "-1" else size_bytes(text)


def nano_cpus(text: str) -> int:
    """Parse a number of CPUs such as "1.5" into billionths."""
    import re
    from fractions import Fraction

    try:
        if len(text) > 100 or re.fullmatch(_RATIONAL, text) is None:
            raise ValueError
        cpus = Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"failed to parse {text} as a rational number") from None
    nanos = cpus * 10**9
    if nanos.denominator != 1:
        raise ValueError("value is too precise")
    return nanos.numerator


def duration_nanoseconds(text: str) -> int:
    """Parse a Go duration, such as "1h30m", "1.5s" or "300ms"."""
    import re

    sign = -1 if text.startswith("-") else 1
    rest = text.lstrip("+-")
    if rest == "0":
        return 0
    total, position = 0.0, 0
    while position < len(rest):
        piece = re.compile(_DURATION_PIECE, re.ASCII).match(rest, position)
        if piece is None:
            raise ValueError(f'time: invalid duration "{text}"')
        try:
            total += decimal_fraction(piece[1]) * _NANOSECONDS[piece[2]]
        except ValueError:
            total = math.inf
        position = piece.end()
    if total > _INT64_MAX:
        raise ValueError(f'time: invalid duration "{text}"')
    if not rest or len(text) - len(rest) > 1:
        raise ValueError(f'time: invalid duration "{text}"')
    return sign * int(total)


def port_range(text: str) -> tuple[int, int]:
    """Parse "80" or "80-82" into first and last port, 0 to 65535."""
    first, dash, last = text.partition("-")
    start = _port(first)
    end = _port(last) if dash else start
    if end < start:
        raise ValueError(f"invalid range specified for port: {text}")
    return start, end


def _port(text: str) -> int:
    if not is_decimal(text):
        raise ValueError(f'strconv.ParseUint: parsing "{text}": invalid syntax')
    if int(text) > 65535:
        raise ValueError(f'strconv.ParseUint: parsing "{text}": value out of range')
    return int(text)
