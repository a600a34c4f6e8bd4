"""The functions of templates: Go's own, and those that Docker's client adds.

A function declares its parameter types, which are checked before the call; it raises ValueError for
an invalid value, which becomes a template error. Not supported: html, js, call and urlquery.

Sources: https://pkg.go.dev/text/template#hdr-Functions; https://docs.docker.com/go/formatting/.
"""

from __future__ import annotations

from minidock.cli.output.template.values import (
    Nil,
    Number,
    Slice,
    Struct,
    as_bytes,
    as_text,
    check_length,
    is_true,
    json_text,
    shown,
    type_name,
)
from minidock.cli.output.template.verbs import printf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

LAZY = ("and", "or")


class Function:
    """A function of templates.

    parameters: the types of its parameters: "any", "string", "int" or "[]string".
    is_open: more arguments, of any type, may follow.
    """

    def __init__(self, act: Callable[..., object], *parameters: str, is_open: bool = False) -> None:
        self.act = act
        self.parameters = parameters
        self.is_open = is_open


def suits(value: object, wanted: str) -> bool:
    """Whether a value may be passed to a parameter of this type."""
    if wanted == "any":
        return True
    if wanted == "int":
        return isinstance(value, int) and not isinstance(value, bool)
    if wanted == "string":
        return isinstance(value, str) and not isinstance(value, Number)
    return type_name(value) in ("[]string", "strslice.StrSlice")


def _index(of: object, *keys: object) -> object:
    if of is None:
        raise ValueError("index of untyped nil")
    for key in keys:
        of = _one_index(of, key)
    return of


def _one_index(of: object, key: object) -> object:
    kind = of.kind if isinstance(of, Nil) else ""
    if isinstance(of, (list, str)) or kind == "slice":
        return _item(of, key)
    if isinstance(of, dict) or kind == "map":
        return _map_value(of, key)
    if kind:
        raise ValueError("index of nil pointer")
    if of is None:
        raise ValueError("index of untyped nil")
    raise ValueError(f"can't index item of type {type_name(of)}")


def _item(of: object, key: object) -> object:
    """Return an item of a slice, or a byte of a string; a nil slice has none."""
    if key is None:
        raise ValueError("cannot index slice/array with nil")
    if not isinstance(key, int) or isinstance(key, bool):
        raise ValueError(f"cannot index slice/array with type {type_name(key)}")
    length = 0 if isinstance(of, Nil) else _len(of)
    if not 0 <= key < length:
        raise ValueError(f"index out of range: {key}")
    if isinstance(of, str):
        return as_bytes(of)[key]
    assert isinstance(of, list)
    return of[key]


def _map_value(of: object, key: object) -> object:
    """Return the value of a key; the zero value if it is missing, or the map is nil."""
    if type_name(of).startswith("nat."):  # the keys have their own type
        raise ValueError(f"value has type {type_name(key)}; should be nat.Port")
    if not isinstance(key, str):
        raise ValueError(f"value has type {type_name(key)}; should be string")
    if not isinstance(of, dict) or key not in of:
        return _zero(type_name(of).partition("]")[2])
    return of[key]


def _zero(kind: str) -> object:
    """Return the value of a missing key, for a map of this element type."""
    simple = {"string": "", "int": 0, "bool": False}
    if kind in simple:
        return simple[kind]
    return Nil(kind) if kind.startswith(("*", "[]", "map[")) else None


def _slice(of: object, *bounds: int) -> object:
    if of is None:
        raise ValueError("slice of untyped nil")
    if len(bounds) > 3:
        raise ValueError(f"too many slice indexes: {len(bounds)}")
    if not isinstance(of, (str, list)):
        raise ValueError(f"can't slice item of type {type_name(of)}")
    if isinstance(of, str) and len(bounds) == 3:
        raise ValueError("cannot 3-index slice a string")
    length = _len(of)
    for bound in bounds:
        if bound is None:
            raise ValueError("cannot index slice/array with nil")
        if not isinstance(bound, int) or isinstance(bound, bool):
            raise ValueError(f"cannot index slice/array with type {type_name(bound)}")
        if not 0 <= bound <= length:
            raise ValueError(f"index out of range: {bound}")
    start, end, most = (*bounds, *(0, length, length)[len(bounds) :])
    if start > end:
        raise ValueError(f"invalid slice index: {start} > {end}")
    if end > most:
        raise ValueError(f"invalid slice index: {end} > {most}")
    return as_text(as_bytes(of)[start:end]) if isinstance(of, str) else of[start:end]


def _len(of: object) -> int:
    if of is None:
        raise ValueError("reflect: call of reflect.Value.Type on zero Value")
    if isinstance(of, str):
        return len(as_bytes(of))
    if isinstance(of, (list, dict)):
        return len(of)
    if isinstance(of, Nil):
        if of.kind == "pointer":
            raise ValueError("len of nil pointer")
        return 0
    raise ValueError(f"len of type {type_name(of)}")


def _not(value: object) -> bool:
    return not is_true(value)


def _never(*values: object) -> object:
    raise AssertionError("and, or are evaluated one operand at a time")


def _kind(value: object) -> str:
    """Return the kind of a value, which decides whether two values are comparable."""
    if isinstance(value, bool):
        return "bool"
    for kind, name in ((str, "string"), (int, "int"), (float, "float")):
        if isinstance(value, kind):
            return name
    raise ValueError("invalid type for comparison")


def _eq(first: object, *others: object) -> bool:
    if not others:
        raise ValueError("missing argument for comparison")
    return any(_equal(first, other) for other in others)


def _equal(first: object, other: object) -> bool:
    if first is None or other is None:
        return _is_nil(first) and _is_nil(other)
    if isinstance(first, Struct) and isinstance(other, Struct):
        if first.is_pointer and other.is_pointer:
            return bool(first.plain() == other.plain())
    for value in (first, other):
        if isinstance(value, (list, dict, Struct)):
            raise ValueError(f"non-comparable type {shown(value)}: {type_name(value)}")
    if isinstance(first, Nil) or isinstance(other, Nil):
        raise ValueError("incompatible types for comparison")
    if _kind(first) != _kind(other):
        raise ValueError("incompatible types for comparison")
    return bool(first == other)


def _is_nil(value: object) -> bool:
    return value is None or isinstance(value, Nil)


def _ne(first: object, other: object) -> bool:
    return not _equal(first, other)


def _lt(first: object, other: object) -> bool:
    if first is None or other is None:
        raise ValueError("invalid type for comparison")
    if _kind(first) != _kind(other):
        raise ValueError("incompatible types for comparison")
    if isinstance(first, bool):
        raise ValueError("invalid type for comparison")
    if isinstance(first, str) and isinstance(other, str):
        return as_bytes(first) < as_bytes(other)
    assert isinstance(first, (int, float)) and isinstance(other, (int, float))
    return first < other


def _le(first: object, other: object) -> bool:
    return _lt(first, other) or _equal(first, other)


def _gt(first: object, other: object) -> bool:
    return not _le(first, other)


def _ge(first: object, other: object) -> bool:
    return not _lt(first, other)


def _print(*values: object) -> str:
    """Sprint: a space between two values of which neither is a string."""
    text = ""
    for position, value in enumerate(values):
        before = values[position - 1] if position else ""
        if not isinstance(value, str) and not isinstance(before, str):
            text += " "
        text += shown(value)
    return text


def _println(*values: object) -> str:
    return " ".join(map(shown, values)) + "\n"


def _printf(format: str, *values: object) -> str:
    return printf(format, values)


def _join(items: list[str] | Nil, separator: str) -> str:
    return separator.join([] if isinstance(items, Nil) else items)


def _split(text: str, separator: str) -> Slice:
    return Slice("[]string", text.split(separator) if separator else list(text))


def _title(text: str) -> str:
    """Capitalize each word."""
    before = " "
    letters = []
    for letter in text:
        starts = not (before.isalnum() or before in "_'")
        letters.append(letter.upper() if starts else letter)
        before = letter
    return "".join(letters)


def _pad(text: str, before: int, after: int) -> str:
    """Spaces around a text, but none around an empty one."""
    if not text:
        return ""
    for count in (before, after):
        if count < 0:
            raise ValueError("strings: negative Repeat count")
        check_length(count)
    return " " * before + text + " " * after


def _truncate(text: str, length: int) -> str:
    if length < 0:
        raise ValueError(f"runtime error: slice bounds out of range [:{length}]")
    return as_text(as_bytes(text)[:length])


FUNCTIONS: dict[str, Function] = {
    "and": Function(_never, "any", is_open=True),
    "eq": Function(_eq, "any", is_open=True),
    "ge": Function(_ge, "any", "any"),
    "gt": Function(_gt, "any", "any"),
    "index": Function(_index, "any", is_open=True),
    "join": Function(_join, "[]string", "string"),
    "json": Function(json_text, "any"),
    "le": Function(_le, "any", "any"),
    "len": Function(_len, "any"),
    "lower": Function(str.lower, "string"),
    "lt": Function(_lt, "any", "any"),
    "ne": Function(_ne, "any", "any"),
    "not": Function(_not, "any"),
    "or": Function(_never, "any", is_open=True),
    "pad": Function(_pad, "string", "int", "int"),
    "print": Function(_print, is_open=True),
    "printf": Function(_printf, "string", is_open=True),
    "println": Function(_println, is_open=True),
    "slice": Function(_slice, "any", is_open=True),
    "split": Function(_split, "string", "string"),
    "title": Function(_title, "string"),
    "truncate": Function(_truncate, "string", "int"),
    "upper": Function(str.upper, "string"),
}
