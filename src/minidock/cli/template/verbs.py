"""printf's verbs, as Go's fmt has them.

    %v %+v   any value         %T   its type          %%   a percent sign
    %s %q    text, quoted      %d %b %o %x %X %c %U   numbers
    %t       true or false     %f %e %g               floats

with the flags + - # 0 and space, a width and a precision, each of which may be `*`. A verb that
does not suit its value prints what is wrong, as Go does: "%!d(string=x)".
Source: https://pkg.go.dev/fmt.
"""

from __future__ import annotations

import re

from minidock.cli.template.values import Nil, Struct, quoted, shown, shown_float, type_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_VERB = re.compile(
    r"%(?P<flags>[+\-# 0]*)(?P<width>\d+|\*)?(?:\.(?P<precision>\d+|\*)?)?(?P<verb>.)?", re.S
)
_BASES = {"d": "d", "b": "b", "o": "o", "x": "x", "X": "X"}


class _Spec:
    """One verb's flags, width and precision."""

    def __init__(self, match: re.Match[str]) -> None:
        self.flags = match["flags"]
        self.width = 0
        self.precision: int | None = 0 if "." in match[0].rstrip(match["verb"] or "") else None


def printf(text: str, values: tuple[Any, ...]) -> str:
    """The format with its verbs replaced by the values."""
    pieces: list[str] = []
    rest = list(reversed(values))
    end = 0
    for match in _VERB.finditer(text):
        pieces.append(text[end : match.start()])
        end = match.end()
        pieces.append(_one(match, rest))
    pieces.append(text[end:])
    if rest:
        extra = ", ".join(f"{type_name(value)}={_in_error(value)}" for value in reversed(rest))
        pieces.append(f"%!(EXTRA {extra})")
    return "".join(pieces)


def _one(match: re.Match[str], rest: list[Any]) -> str:
    verb = match["verb"]
    if verb is None:
        return "%!(NOVERB)"
    if verb == "%":
        return "%"
    spec = _Spec(match)
    spec.width = _size(match["width"], rest) or 0
    if match["precision"]:
        spec.precision = _size(match["precision"], rest)
    if not rest:
        return f"%!{verb}(MISSING)"
    value = rest.pop()
    return _padded(_formatted(verb, value, spec), value, spec)


def _size(text: str | None, rest: list[Any]) -> int | None:
    if text == "*":
        return int(rest.pop()) if rest and isinstance(rest[-1], int) else None
    return int(text) if text else None


def _padded(text: str, value: Any, spec: _Spec) -> str:
    missing = spec.width - len(text)
    if missing <= 0:
        return text
    if "-" in spec.flags:
        return text + " " * missing
    if "0" in spec.flags:
        sign = text[:1] if text[:1] in ("+", "-") and not isinstance(value, str) else ""
        return sign + "0" * missing + text[len(sign) :]
    return " " * missing + text


def _formatted(verb: str, value: Any, spec: _Spec) -> str:
    if verb == "T":
        return type_name(value)
    if verb == "v":
        return _value(value, spec)
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


def _value(value: Any, spec: _Spec) -> str:
    if isinstance(value, str) and spec.precision is not None:
        return value[: spec.precision]
    if isinstance(value, int) and not isinstance(value, bool):
        return _signed(str(value), spec)
    return shown(value)


def _string(verb: str, value: str, spec: _Spec) -> str:
    cut = value if spec.precision is None else value[: spec.precision]
    if verb == "s":
        return cut
    if verb == "q":
        return quoted(cut)
    if verb in "xX":
        digits = cut.encode().hex()
        return digits if verb == "x" else digits.upper()
    return _wrong(verb, value)


def _integer(verb: str, value: int, spec: _Spec) -> str:
    if verb in _BASES:
        digits = format(abs(value), _BASES[verb])
        if spec.precision is not None:
            digits = digits.rjust(spec.precision, "0")
        if "#" in spec.flags:
            digits = {"x": "0x", "X": "0X", "o": "0", "b": "0b"}.get(verb, "") + digits
        return _signed(("-" if value < 0 else "") + digits, spec)
    if verb == "c":
        return chr(value)
    if verb == "q":
        return f"'{chr(value)}'"
    if verb == "U":
        return f"U+{value:04X}"
    return _wrong(verb, value)


def _float(verb: str, value: float, spec: _Spec) -> str:
    if verb == "g" and spec.precision is None:
        return _signed(shown_float(value), spec)
    if verb in "eEfFgG":
        precision = 6 if spec.precision is None else spec.precision
        return _signed(f"{value:.{precision}{verb.replace('F', 'f')}}", spec)
    return _wrong(verb, value)


def _composite(verb: str, value: Any, spec: _Spec) -> str:
    """A verb goes to each element of a slice or map."""
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


def _wrong(verb: str, value: Any) -> str:
    return f"%!{verb}({type_name(value)}={_in_error(value)})"


def _in_error(value: Any) -> str:
    return shown(value)
