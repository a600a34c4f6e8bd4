"""Sizes, fractions and times as Docker's flags spell them.

Each function reads one spelling and raises ValueError with Docker's words for what is wrong.
"""

from __future__ import annotations

_POWER = {"k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_SIZE = r"(\d+(?:\.\d+)?) ?([kmgtp]?)i?b?"
_DURATION_PIECE = r"(\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h)"
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
    """A size such as "512m", "1.5g", "64KiB" or "1000" in bytes; the letters count in 1024s."""
    import re

    match = re.fullmatch(_SIZE, text, re.ASCII | re.IGNORECASE)
    if match is None:
        raise ValueError(f"invalid size: '{text}'")
    power = _POWER[match[2].lower()] if match[2] else 0
    return int(float(match[1]) * 1024**power)


def swap_bytes(text: str) -> int:
    """A size, or -1 for a swap space without a limit."""
    return -1 if text == "-1" else size_bytes(text)


def nano_cpus(text: str) -> int:
    """A number of CPUs such as "1.5", in billionths."""
    from fractions import Fraction

    try:
        cpus = Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"failed to parse {text} as a rational number") from None
    nanos = cpus * 10**9
    if nanos.denominator != 1:
        raise ValueError("value is too precise")
    return nanos.numerator


def duration_nanoseconds(text: str) -> int:
    """A duration as Go spells it, such as "1h30m", "1.5s" or "300ms"."""
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
        total += float(piece[1]) * _NANOSECONDS[piece[2]]
        position = piece.end()
    if not rest:
        raise ValueError(f'time: invalid duration "{text}"')
    return sign * int(total)


def port_range(text: str) -> tuple[int, int]:
    """ "80" or "80-82" as its first and last number, 0 to 65535."""
    first, dash, last = text.partition("-")
    start = _port(first)
    end = _port(last) if dash else start
    if end < start:
        raise ValueError(f"invalid range specified for port: {text}")
    return start, end


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise ValueError(f'strconv.ParseUint: parsing "{text}": invalid syntax')
    if int(text) > 65535:
        raise ValueError(f'strconv.ParseUint: parsing "{text}": value out of range')
    return int(text)
