"""Docker's rules for the flags of a command line.

Docker's client parses its flags with Go's pflag, whose rules differ from click's in four visible
places. This module implements them:

    --rm=false   -d=true     a switch may have a value
    -it=false    -p8080:80   short flags combine; the last of them may have a value, with or
                             without "="
    run … IMAGE --x          for some commands, what follows the first argument belongs to it
    unknown flag: --x        the error messages, and exit code 125 (1 for a wrong number of
                             arguments)

The decorators `switch`, `value`, `values` and `unsupported` declare flags; `parse` parses them.
click would take 7 ms for `run`: it visits each of the ninety flags of the command, given or not.

Source: the behaviour of `docker` 26.1; https://pkg.go.dev/github.com/spf13/pflag.
"""

from __future__ import annotations

from minidock.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol, TypeVar

    F = TypeVar("F", bound=Callable[..., object])

    class Decorator(Protocol):
        def __call__(self, function: F, /) -> F: ...


class FlagType:
    """The type of a flag's value: its name in the help text, and its parser.

    parse: raises ValueError with the reason if the text is invalid.
    """

    def __init__(self, name: str, parse: Callable[[str], object]) -> None:
        self.name = name
        self.parse = parse


def parse_bool(text: str) -> bool:
    """Parse a boolean as Go's strconv.ParseBool does."""
    if text in ("1", "t", "T", "true", "TRUE", "True"):
        return True
    if text in ("0", "f", "F", "false", "FALSE", "False"):
        return False
    raise ValueError(f'strconv.ParseBool: parsing "{text}": invalid syntax')


def parse_int(text: str, bits: int = 64) -> int:
    """Parse a signed number as Go's strconv.ParseInt does with base 0 (0x1f, 0o17, 017 and 0b1)."""
    digits = text.lstrip("+-")
    try:
        is_plain = digits.isascii() and digits.replace("_", "").isalnum() and len(digits) < 100
        if len(text) - len(digits) > 1 or not is_plain:
            raise ValueError
        octal = len(digits) > 1 and digits[0] == "0" and digits[1] in "01234567_"
        number = int(digits, 8 if octal else 0)
    except ValueError:
        raise ValueError(f'strconv.ParseInt: parsing "{text}": invalid syntax') from None
    number = -number if text.startswith("-") else number
    if not -(1 << (bits - 1)) <= number < 1 << (bits - 1):
        raise ValueError(f'strconv.ParseInt: parsing "{text}": value out of range')
    return number


STRING = FlagType("string", str)
INT = FlagType("int", parse_int)
_BOOL = FlagType("", parse_bool)
_LIST = FlagType("list", str)


class Flag:
    """One flag.

    names: as typed, the long one last, such as ("-e", "--env"); it names the parameter too.
    many: the flag may be repeated; its value is a tuple.
    bare: the value of the flag if it is given without one; None: it needs a value.
    section: the heading under which `--help` shows it.
    """

    def __init__(
        self,
        names: tuple[str, ...],
        type: FlagType,
        *,
        default: object = None,
        many: bool = False,
        bare: str | None = None,
        help: str = "",
        hidden: bool = False,
    ) -> None:
        self.names = names
        self.type = type
        self.default = () if many else default
        self.many = many
        self.bare = bare
        self.help = help
        self.hidden = hidden
        self.section = "Options"
        self.parameter = next(n for n in names if n.startswith("--"))[2:].replace("-", "_")

    def read(self, text: str) -> object:
        """Parse a value; raises UsageError with pflag's message."""
        try:
            return self.type.parse(text)
        except ValueError as reason:
            raise UsageError(
                f'invalid argument "{text}" for "{", ".join(self.names)}" flag: {reason}'
            ) from None

    def optional(self) -> Flag:
        """Return the same flag, with the value None if it is not given."""
        flag = Flag(
            self.names, self.type, many=False, bare=self.bare, help=self.help, hidden=self.hidden
        )
        flag.section = self.section
        return flag

    def help_row(self) -> tuple[str, str]:
        """Return its row in the help text: (names and type, description).

        The row has the first of two long names.
        """
        short = next((name for name in self.names if len(name) == 2), "")
        long = next(name for name in self.names if name.startswith("--"))
        return f"{short + ', ' if short else '    '}{long} {self.type.name}".rstrip(), self.help


def _declaring(flag: Flag) -> Decorator:
    def declare(function: F) -> F:
        function.__dict__.setdefault("flags", []).insert(0, flag)
        return function

    return declare


def switch(*names: str, help: str, default: bool | None = False) -> Decorator:
    """Declare a boolean flag: `--rm`, `--rm=false`."""
    return _declaring(Flag(names, _BOOL, default=default, bare="true", help=help))


def value(
    *names: str,
    help: str,
    type: FlagType = STRING,
    default: object = None,
    bare: str | None = None,
) -> Decorator:
    """Declare a flag with one value; the last one wins."""
    return _declaring(Flag(names, type, default=default, bare=bare, help=help))


def values(*names: str, help: str, type: FlagType = _LIST) -> Decorator:
    """Declare a flag that may be repeated."""
    return _declaring(Flag(names, type, many=True, help=help))


def unsupported(
    *names: str, because: str, unless: tuple[str, ...] = (), bare: str | None = None
) -> Decorator:
    """Declare a flag of Docker's that minidock refuses, with the reason.

    unless: values that ask for what minidock does anyway; these are accepted.
    bare: "true" for a boolean flag of Docker.
    """

    def refuse(text: str) -> str:
        if text in unless:
            return text
        shown = names[-1] if text in ("", "true") else f"{names[-1]} {text}"
        raise UsageError(f"{shown} is not available: {because}")

    return _declaring(Flag(names, FlagType("", refuse), bare=bare, hidden=True))


def in_section(title: str, *declarations: Decorator) -> Decorator:
    """Declare several flags under one heading of the help text."""

    def declare(function: F) -> F:
        known = list(getattr(function, "flags", ()))
        for declaration in reversed(declarations):
            function = declaration(function)
        for flag in getattr(function, "flags", ()):
            if flag not in known:
                flag.section = title
        return function

    return declare


def parse(
    flags: list[Flag], typed: list[str], *, flags_first: bool
) -> tuple[dict[str, object], tuple[str, ...]]:
    """Parse a command line; returns the values of the given flags, and the arguments.

    flags_first: the first argument ends the flags. --help sets the value "help"; so does -h, unless
    the command has a flag -h.
    Raises UsageError with pflag's message.
    """
    by_name = {name: flag for flag in flags for name in flag.names}
    given: dict[str, object] = {}
    arguments: list[str] = []
    rest = list(reversed(typed))
    while rest:
        word = rest.pop()
        if word == "--":
            arguments += reversed(rest)
            break
        if word == "--help" or (word == "-h" and word not in by_name):
            given["help"] = True
        elif word.startswith("--"):
            _store(given, *_long(by_name, word, rest))
        elif word.startswith("-") and len(word) > 1:
            for flag, text in _short(by_name, word, rest):
                _store(given, flag, text)
        else:
            arguments.append(word)
            if flags_first:
                arguments += reversed(rest)
                break
    return given, tuple(arguments)


def _store(given: dict[str, object], flag: Flag, text: str) -> None:
    read = flag.read(text)
    if flag.many:
        before = given.get(flag.parameter, ())
        assert isinstance(before, tuple)
        read = (*before, read)
    given[flag.parameter] = read


def _long(by_name: dict[str, Flag], word: str, rest: list[str]) -> tuple[Flag, str]:
    """Parse one `--name`, `--name=value` or `--name value`."""
    name, equals, text = word.partition("=")
    if name == "--" or name.startswith("---"):
        raise UsageError(f"bad flag syntax: {word}")
    flag = by_name.get(name)
    if flag is None:
        raise UsageError(f"unknown flag: {name}", hint=_nearest(name, by_name))
    if equals:
        return flag, text
    if flag.bare is not None:
        return flag, flag.bare
    if not rest:
        raise UsageError(f"flag needs an argument: {name}")
    return flag, rest.pop()


def _short(by_name: dict[str, Flag], word: str, rest: list[str]) -> list[tuple[Flag, str]]:
    """Parse combined short flags, such as `-it`, `-p8080:80`, `-d=false` or `-e A=1`."""
    found: list[tuple[Flag, str]] = []
    letters = word[1:]
    while letters:
        letter, letters = letters[0], letters[1:]
        flag = by_name.get(f"-{letter}")
        if flag is None:
            raise UsageError(
                f"unknown shorthand flag: '{letter}' in -{letter}{letters}",
                hint=_nearest(f"-{word.partition('=')[0]}", by_name),
            )
        if letters.startswith("=") and len(letters) > 1:
            text, letters = letters[1:], ""
        elif flag.bare is not None:
            text = flag.bare
        elif letters:
            text, letters = letters, ""
        elif rest:
            text = rest.pop()
        else:
            raise UsageError(f"flag needs an argument: '{letter}' in -{letter}")
        found.append((flag, text))
    return found


def _nearest(name: str, known: dict[str, Flag]) -> str:
    """Suggest the flag with the most similar name."""
    from difflib import get_close_matches

    shown = [typed for typed, flag in known.items() if not flag.hidden]
    near = get_close_matches(name, shown, n=1, cutoff=0.7)
    return f"did you mean {near[0]}?" if near else ""
