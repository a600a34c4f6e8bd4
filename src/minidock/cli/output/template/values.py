"""Go's view of a value: the name of its type, how it prints, whether it is empty.

    Python                  Go
    None                    no value at all; inside maps and slices, a nil interface
    str, bool, int, float   string, bool, int, float64
    Number                  json.Number: a number in JSON of unknown type
    list, Slice             []interface {}, a slice of a known type
    dict, Map               map[string]interface {}, a map of a known type
    Struct                  a struct: declared fields, no others
    Nil                     a nil pointer, slice or map of a known type

Source: the packages fmt, reflect, text/template and encoding/json of Go.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


LONGEST = (
    4 << 20
)  # characters of what a function gives; all that is known of a container is shorter


class TemplateError(Exception):
    """A syntax error in a template, or an error in its evaluation."""


def check_length(characters: int) -> None:
    """Raise ValueError for a text beyond the maximum length."""
    if characters > LONGEST:
        raise ValueError(f"the text is longer than {LONGEST >> 20} MiB")


def as_bytes(text: str) -> bytes:
    """Convert a text to bytes, as Go has it: slicing may split a character."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")


def as_text(data: bytes) -> str:
    """What `as_bytes` takes apart."""
    return data.decode("utf-8", "surrogateescape")


class Number(str):
    """A number with its literal text in JSON."""

    __slots__ = ()


class Slice(list[object]):
    """A slice of a known type, such as "[]string"."""

    def __init__(self, type_name: str, items: Iterable[object] = ()) -> None:
        super().__init__(items)
        self.type_name = type_name


class Map(dict[str, object]):
    """A map of a known type, such as "map[string]string"."""

    def __init__(self, type_name: str, items: Iterable[tuple[str, object]] = ()) -> None:
        super().__init__(items)
        self.type_name = type_name


class Nil:
    """A nil pointer, slice or map."""

    def __init__(self, type_name: str) -> None:
        self.type_name = type_name

    @property
    def kind(self) -> str:
        if self.type_name.startswith("*"):
            return "pointer"
        return "map" if self.type_name.startswith(("map[", "nat.")) else "slice"


class Struct:
    """A value with declared fields.

    type_name: such as "types.ContainerJSON".
    is_pointer: it is reached through a pointer, and printf says so: "&{...}".
    """

    type_name = "struct {}"
    is_pointer = False

    def field(self, name: str) -> object:
        """Return the value of a field (a function for a method of Go); raises KeyError."""
        raise NotImplementedError

    def values(self) -> list[object]:
        """Return the values of all fields, in order."""
        raise NotImplementedError

    def names(self) -> list[str]:
        """Return the names of the fields, in order; empty if they are unknown."""
        return []

    def plain(self) -> object:
        """Return the value for JSON."""
        raise NotImplementedError


def type_name(value: object) -> str:
    """Return the name of a value's type in Go."""
    if isinstance(value, (Slice, Map, Nil)):
        return value.type_name
    if isinstance(value, Struct):
        return ("*" if value.is_pointer else "") + value.type_name
    if isinstance(value, Number):
        return "json.Number"
    names = {str: "string", bool: "bool", int: "int", float: "float64", type(None): "<nil>"}
    if isinstance(value, list):
        return "[]interface {}"
    return "map[string]interface {}" if isinstance(value, dict) else names[type(value)]


def is_true(value: object) -> bool:
    """Whether `if` takes a value as true: not the empty value of its type."""
    if isinstance(value, Struct):
        return True
    return not isinstance(value, Nil) and bool(value)


def shown(value: object) -> str:
    """Format a value as fmt does with %v."""
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return shown_float(value)
    if isinstance(value, (str, int)):
        return str(value)
    if isinstance(value, Nil):
        return {"pointer": "<nil>", "slice": "[]", "map": "map[]"}[value.kind]
    if isinstance(value, list):
        return f"[{' '.join(shown(item) for item in value)}]"
    if isinstance(value, dict):
        pairs = (f"{key}:{shown(item)}" for key, item in sorted(value.items()))
        return f"map[{' '.join(pairs)}]"
    assert isinstance(value, Struct)
    fields = " ".join(shown(item) for item in value.values())
    return f"{'&' if value.is_pointer else ''}{{{fields}}}"


def in_source(value: object) -> str:
    """Format a value as fmt does with %#v: in Go syntax."""
    if isinstance(value, Number) or isinstance(value, str):
        return quoted(value)
    if value is None:
        return "<nil>"
    if isinstance(value, Nil):
        name = type_name(value)
        return f"({name})(nil)" if value.kind == "pointer" else f"{name}(nil)"
    if isinstance(value, list):
        return f"{type_name(value)}{{{', '.join(map(_inside_source, value))}}}"
    if isinstance(value, dict):
        items = (f"{quoted(key)}:{_inside_source(item)}" for key, item in sorted(value.items()))
        return f"{type_name(value)}{{{', '.join(items)}}}"
    if isinstance(value, Struct):
        pairs = zip(value.names(), value.values(), strict=True)
        fields = (f"{name}:{_inside_source(field)}" for name, field in pairs)
        return f"{'&' if value.is_pointer else ''}{value.type_name}{{{', '.join(fields)}}}"
    return shown(value)


def _inside_source(value: object) -> str:
    return "interface {}(nil)" if value is None else in_source(value)


def shown_float(value: float) -> str:
    """Format a float as %v does: the shortest digits, an exponent for the very large and small."""
    texts = (f"{value:.{precision}e}" for precision in range(18))
    shortest = next(text for text in texts if float(text) == value)
    digits, _, power = shortest.partition("e")
    if -4 <= int(power) < 6:
        decimals = max(len(digits.lstrip("-").replace(".", "")) - 1 - int(power), 0)
        return f"{value:.{decimals}f}"
    return f"{digits}e{power}"


def plain(value: object) -> object:
    """Convert a value for JSON: structs to objects, nil to null."""
    if isinstance(value, Struct):
        return value.plain()
    if isinstance(value, Nil):
        return None
    if isinstance(value, Number):
        return float(value) if any(mark in value for mark in ".eE") else int(value)
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in sorted(value.items())}
    return value


def json_text(value: object, *, indent: int | None = None) -> str:
    """Encode a value as Go's encoding/json does, without its escapes for HTML."""
    import json

    separators = (",", ":") if indent is None else (",", ": ")
    text = json.dumps(plain(value), ensure_ascii=False, separators=separators, indent=indent)
    return text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def html_safe(text: str) -> str:
    """Escape <, > and & in JSON text, as Go's Marshal does."""
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def quoted(text: str) -> str:
    """Quote a string as %q does: a Go literal."""
    escapes = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r", "\a": "\\a",
               "\b": "\\b", "\f": "\\f", "\v": "\\v"}  # fmt: skip
    letters = []
    for letter in text:
        if letter in escapes:
            letters.append(escapes[letter])
        elif letter.isprintable():
            letters.append(letter)
        elif ord(letter) < 0x80:
            letters.append(f"\\x{ord(letter):02x}")
        elif ord(letter) < 0x10000:
            letters.append(f"\\u{ord(letter):04x}")
        else:
            letters.append(f"\\U{ord(letter):08x}")
    return f'"{"".join(letters)}"'
