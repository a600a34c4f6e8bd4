"""JSON with CPython's C scanner and encoder, without `import json`.

The json package compiles patterns with `re`, which takes 8 ms at import; the monitor and the
runtime start once per container, so they call the same two C functions directly. Input and output
are those of json (UTF-8, without NaN); tests compare the two.
"""

from __future__ import annotations

from _json import encode_basestring, encode_basestring_ascii, make_encoder, make_scanner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

quote = encode_basestring  # encodes a JSON string; non-ASCII characters stay unescaped
_WHITESPACE = " \t\n\r"


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _refuse_object(value: object) -> NoReturn:
    raise TypeError(f"{type(value).__name__} has no JSON form")


class _Dialect:
    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = staticmethod(_refuse_constant)


_scan = make_scanner(_Dialect())  # type: ignore[arg-type]
_encode = make_encoder(
    None, _refuse_object, encode_basestring_ascii, None, ":", ",", False, False, False
)


def loads(text: str | bytes) -> Any:
    """Parse a JSON text. The caller gives the result a type, or checks what it is.

    Raises ValueError if it is not JSON, is nested too deeply, has an integer of more than 4300
    digits, or text after its value.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8")
    start = len(text) - len(text.lstrip(_WHITESPACE))
    try:
        value, end = _scan(text, start)
    except StopIteration as stop:
        raise ValueError(f"not JSON at character {stop.value}") from None
    except RecursionError:
        raise ValueError("JSON nested too deeply") from None
    except SystemError:  # raised instead of json.JSONDecodeError, which is not imported
        raise ValueError("not JSON") from None
    if text[end:].strip(_WHITESPACE):
        raise ValueError(f"more text after the JSON value, at character {end}")
    return value


def dumps(value: object) -> str:
    """Serialize a value as one line of ASCII JSON.

    Raises TypeError for a type without a JSON form, ValueError for NaN, infinities and too deep
    nesting.
    """
    try:
        return "".join(_encode(value, 0))
    except RecursionError:
        raise ValueError("a value nested too deeply for JSON") from None
