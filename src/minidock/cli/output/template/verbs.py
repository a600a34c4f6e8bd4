"""The verbs of printf, as in Go's fmt.

    %v %+v   any value         %T   its type          %%   a percent sign
    %#v      as Go's source    %t   true or false     %s %q   text, quoted
    %d %b %o %O %x %X %c %U    whole numbers          %e %f %g %x %X   floats

with the flags + - # 0 and space, a width and a precision, each of which may be `*`. A verb
that does not fit its value prints an error, as in Go: "%!d(string=x)".
Source: https://pkg.go.dev/fmt.
"""

from __future__ import annotations

import math

from minidock.cli.output.template.values import (
    Nil,
    Struct,
    as_bytes,
    check_length,
    in_source,
    quoted,
    shown,
    shown_float,
    type_name,
)
from minidock.numerals import is_decimal

_BASES = {"d": "d", "b": "b", "o": "o", "O": "o", "x": "x", "X": "X"}
_MANTISSA_BITS, _MANTISSA_DIGITS = 52, 13  # of a float64's fraction
_MOST = 1_000_000  # the largest width and precision; fmt's own limit


class _Spec:
    """One verb's flags, width and precision."""

    def __init__(self) -> None:
        self.flags = ""
        self.width = 0
        self.precision: int | None = None


def printf(text: str, values: tuple[object, ...]) -> str:
    """Replace the verbs of a format by the values.

    Raises ValueError for what becomes too long.
    """
    return _Printf(text, values).whole()


class _Printf:
    """One printf: how far its format is read, and which value comes next.

    is_reordered: a "[2]" was there, so values may be left over. is_good: this verb's "[…]" was
    right. is_indexed: the "[…]" was the last that was read.
    """

    def __init__(self, text: str, values: tuple[object, ...]) -> None:
        self.text = text
        self.values = values
        self.at = 0
        self.number = 0
        self.is_reordered = False
        self.is_good = True
        self.is_indexed = False
        self.pieces: list[str] = []
        self.length = 0

    def whole(self) -> str:
        while (start := self.text.find("%", self.at)) >= 0:
            self._put(self.text[self.at : start])
            self.at = start + 1
            self._put(self._verb())
        self._put(self.text[self.at :])
        rest = self.values[self.number :]
        if rest and not self.is_reordered:
            extra = ", ".join(
                "<nil>" if value is None else f"{type_name(value)}={_in_error(value)}"
                for value in rest
            )
            self._put(f"%!(EXTRA {extra})")
        return "".join(self.pieces)

    def _put(self, piece: str) -> None:
        self.length += len(piece)
        check_length(self.length)
        self.pieces.append(piece)

    def _peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def _verb(self) -> str:
        """Format one verb."""
        spec = _Spec()
        self.is_good, self.is_indexed = True, False
        while (flag := self._peek()) and flag in "+-# 0":
            spec.flags += flag
            self.at += 1
        self._index()
        wrong = self._width(spec) + self._precision(spec)
        if not self.is_indexed:
            self._index()
        verb = self._peek()
        self.at += 1
        if not verb:
            return f"{wrong}%!(NOVERB)"
        if verb == "%":
            return f"{wrong}%"
        if not self.is_good:
            return f"{wrong}%!{verb}(BADINDEX)"
        if self.number >= len(self.values):
            return f"{wrong}%!{verb}(MISSING)"
        value = self.values[self.number]
        self.number += 1
        return wrong + _padded(_formatted(verb, value, spec), value, spec)

    def _width(self, spec: _Spec) -> str:
        """Parse a width; returns an error text."""
        if self._peek() == "*":
            self.at += 1
            width = self._from_value()
            self.is_indexed = False
            if width is None:
                return "%!(BADWIDTH)"
            if width < 0:
                spec.flags = spec.flags.replace("0", "") + "-"
            spec.width = abs(width)
            return ""
        number = self._digits()
        if number is not None:
            spec.width = number
            self.is_good &= not self.is_indexed
        return ""

    def _precision(self, spec: _Spec) -> str:
        """Parse a precision; returns an error text."""
        if self._peek() != ".":
            return ""
        self.at += 1
        self.is_good &= not self.is_indexed
        self._index()
        if self._peek() == "*":
            self.at += 1
            number = self._from_value()
            self.is_indexed = False
            if number is None or number < 0:
                return "%!(BADPREC)"
            spec.precision = number
            return ""
        spec.precision = self._digits() or 0
        return ""

    def _digits(self) -> int | None:
        """Parse a number of the format; one that is too large consumes the rest of the format."""
        start = self.at
        while (digit := self._peek()) and digit in "0123456789":
            self.at += 1
            if self.at - start > 7:
                self.at = len(self.text)
                return None
        return int(self.text[start : self.at]) if self.at > start else None

    def _from_value(self) -> int | None:
        """Take a width or precision from the values."""
        if self.number >= len(self.values):
            return None
        value = self.values[self.number]
        self.number += 1
        if isinstance(value, bool) or not isinstance(value, int) or abs(value) > _MOST:
            return None
        return value

    def _index(self) -> None:
        """Parse an argument index such as "[2]"."""
        self.is_indexed = False
        if self._peek() != "[":
            return
        self.is_reordered = True
        close = self.text.find("]", self.at)
        if close < 0:
            self.is_good = False
            self.at += 1
            return
        word = self.text[self.at + 1 : close]
        self.at = close + 1
        is_number = is_decimal(word) and len(word) <= 7
        if is_number and 1 <= int(word) <= len(self.values):
            self.number = int(word) - 1
            self.is_indexed = True
        else:
            self.is_good = False
            self.is_indexed = is_number


def _padded(text: str, value: object, spec: _Spec) -> str:
    missing = spec.width - len(text)
    if missing <= 0:
        return text
    if "-" in spec.flags:
        return text + " " * missing
    if "0" in spec.flags:
        sign = text[:1] if text[:1] in ("+", "-") and not isinstance(value, str) else ""
        return sign + "0" * missing + text[len(sign) :]
    return " " * missing + text


def _formatted(verb: str, value: object, spec: _Spec) -> str:
    if verb == "T":
        return type_name(value)
    if verb == "v":
        return in_source(value) if "#" in spec.flags else _value(value, spec)
    if value is None:
        return f"%!{verb}(<nil>)"
    if isinstance(value, bool):
        return shown(value) if verb == "t" else _wrong(verb, value)
    if isinstance(value, str):
        return _string(verb, value, spec)
    if isinstance(value, int):
        return _integer(verb, value, spec)
    if isinstance(value, float):
        return _float(verb, value, spec)
    return _composite(verb, value, spec)


def _value(value: object, spec: _Spec) -> str:
    if isinstance(value, str) and spec.precision is not None:
        return value[: spec.precision]
    if isinstance(value, int) and not isinstance(value, bool):
        return _signed(str(value), spec)
    if isinstance(value, float):
        return _float("g", value, spec)
    return shown(value)


def _string(verb: str, value: str, spec: _Spec) -> str:
    cut = value if spec.precision is None else value[: spec.precision]
    if verb == "s":
        return cut
    if verb == "q":
        return quoted(cut)
    if verb in "xX":
        between = " " if " " in spec.flags and cut else ""
        digits = as_bytes(cut).hex(between) if between else as_bytes(cut).hex()
        if "#" in spec.flags and cut:
            digits = "0x" + digits.replace(" ", " 0x")
        return digits if verb == "x" else digits.upper()
    return _wrong(verb, value)


def _integer(verb: str, value: int, spec: _Spec) -> str:
    if verb in _BASES:
        digits = format(abs(value), _BASES[verb])
        if spec.precision is not None:
            digits = digits.rjust(spec.precision, "0")
        if "#" in spec.flags:
            leading = "" if digits.startswith("0") and verb in "oO" else "0"
            digits = {"x": "0x", "X": "0X", "b": "0b", "d": ""}.get(verb, leading) + digits
        if verb == "O":
            digits = f"0o{digits}"
        return _signed(("-" if value < 0 else "") + digits, spec)
    if verb == "c":
        return _character(value)
    if verb == "q":
        return _quoted_character(value)
    if verb == "U":
        return f"U+{value % (1 << 64):04X}"
    return _wrong(verb, value)


def _character(value: int) -> str:
    """Return the character of a code point; U+FFFD if it is invalid."""
    if not 0 <= value <= 0x10FFFF or 0xD800 <= value <= 0xDFFF:
        return "\ufffd"
    return chr(value)


def _quoted_character(value: int) -> str:
    character = _character(value)
    if character in "'\"":
        return "'\\''" if character == "'" else "'\"'"
    return f"'{quoted(character)[1:-1]}'"


def _float(verb: str, value: float, spec: _Spec) -> str:
    if verb == "g" and spec.precision is None:
        return _signed(shown_float(value), spec)
    if verb in "eEfFgG":
        precision = 6 if spec.precision is None else spec.precision
        return _signed(f"{value:.{precision}{verb.replace('F', 'f')}}", spec)
    if verb in "xX":
        text = _hexadecimal(value, spec.precision)
        if "#" in spec.flags:
            text = _with_zeros(text, 0 if verb == "X" else spec.precision)
        return _signed(text.upper() if verb == "X" else text, spec)
    if verb == "b":
        mantissa, exponent = math.frexp(value)
        return _signed(f"{math.trunc(mantissa * 2**53)}p{exponent - 53:+d}", spec)
    return _wrong(verb, value)


def _hexadecimal(value: float, precision: int | None) -> str:
    """A float as strconv's 'x' has it: 0x1.8p+00. precision: digits behind the point; None for as
    many as it takes."""
    sign = "-" if math.copysign(1, value) < 0 else ""
    fraction, exponent = math.frexp(abs(value))
    mantissa, exponent = math.trunc(fraction * 2 ** (_MANTISSA_BITS + 1)), exponent - 1
    if not mantissa:
        exponent = 0
    digits = _MANTISSA_DIGITS if precision is None else precision
    if (cut := 4 * (_MANTISSA_DIGITS - digits)) > 0:  # to the nearest, a half to the even one
        mantissa, rest = divmod(mantissa, 1 << cut)
        mantissa += rest * 2 > 1 << cut or (rest * 2 == 1 << cut and mantissa & 1)
        if mantissa >> (4 * digits + 1):
            mantissa, exponent = mantissa >> 1, exponent + 1
    bits = 4 * min(digits, _MANTISSA_DIGITS)
    behind = f"{mantissa & ((1 << bits) - 1):0{bits // 4}x}" if bits else ""
    behind = behind.rstrip("0") if precision is None else behind.ljust(digits, "0")
    return f"{sign}0x{mantissa >> bits:x}{'.' if behind else ''}{behind}p{exponent:+03d}"


def _with_zeros(text: str, precision: int | None) -> str:
    """What "#" makes of it: a point, and zeros up to so many digits, as fmt counts them."""
    number, _, power = text.partition("p")
    counted = number.lstrip("-").lstrip("0").replace(".", "")  # "x" is one of them
    missing = (6 if precision is None else precision) - len(counted)
    point = "" if "." in number else "."
    return f"{number}{point}{'0' * missing}p{power}"


def _composite(verb: str, value: object, spec: _Spec) -> str:
    """Apply a verb to each element of a slice or map."""
    if isinstance(value, Nil):
        return f"%!{verb}(<nil>)" if value.kind == "pointer" else shown(value)
    if isinstance(value, list):
        return f"[{' '.join(_formatted(verb, item, spec) for item in value)}]"
    if isinstance(value, dict):
        pairs = (
            f"{_formatted(verb, key, spec)}:{_formatted(verb, item, spec)}"
            for key, item in sorted(value.items())
        )
        return f"map[{' '.join(pairs)}]"
    assert isinstance(value, Struct)
    fields = " ".join(_formatted(verb, item, spec) for item in value.values())
    return f"{'&' if value.is_pointer else ''}{{{fields}}}"


def _signed(text: str, spec: _Spec) -> str:
    if text.startswith("-"):
        return text
    return ("+" if "+" in spec.flags else " " if " " in spec.flags else "") + text


def _wrong(verb: str, value: object) -> str:
    return f"%!{verb}({type_name(value)}={_in_error(value)})"


def _in_error(value: object) -> str:
    return shown(value)
