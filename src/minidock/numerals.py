r"""Numbers in texts that come from outside: ASCII digits only.

Python's int(), isdigit() and isdecimal() take the digits of all scripts ("\u0660" is 0, and root's
uid), and int() and float() take blanks, "_", "+", "nan" and "inf" besides. Docker does not, so all
that is read from flags, files, images, registries and packets is asked here first; an architecture
test keeps the others out. int() also raises for more than 4300 digits: no text of more than
`_LONGEST` is a number here.

Source: https://pkg.go.dev/strconv.
"""

from __future__ import annotations

import math

_LONGEST = 1000
_DIGITS = frozenset("0123456789")
_OCTAL = frozenset("01234567")


def is_decimal(text: str | bytes) -> bool:
    """Whether a text is one or more ASCII digits, and nothing else: int() takes it then."""
    return text.isascii() and text.isdigit() and len(text) <= _LONGEST


def atoi(text: str, *, bits: int = 64, call: str = "Atoi") -> int:
    """A number with or without a sign, as Go's strconv.Atoi reads it.

    Raises ValueError, in Go's words.
    """
    if not is_decimal(text[1:] if text[:1] in ("+", "-") else text):
        raise ValueError(f'strconv.{call}: parsing "{text}": invalid syntax')
    number = int(text)
    if not -(1 << (bits - 1)) <= number < 1 << (bits - 1):
        raise ValueError(f'strconv.{call}: parsing "{text}": value out of range')
    return number


def octal(text: str) -> int:
    """Octal digits, such as a file's mode; raises ValueError."""
    if not text or not _OCTAL.issuperset(text) or len(text) > _LONGEST:
        raise ValueError(f'strconv.ParseUint: parsing "{text}": invalid syntax')
    return int(text, 8)


def decimal_fraction(text: str) -> float:
    """Digits with or without a point, such as "1.5", finite; raises ValueError."""
    if not _DIGITS.issuperset(text.replace(".", "", 1)) or len(text) > _LONGEST:
        raise ValueError(f"not a number: {text}")
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"number out of range: {text}")
    return number
