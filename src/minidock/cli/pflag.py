"""Docker's rules for a command line, on top of click.

Docker's client reads its flags with Go's pflag, whose rules differ from click's in four places that
people notice. This module knows those, and nothing of what any command does:

    --rm=false   -d=true     a switch may carry a value
    -it=false    -p8080:80   short flags combine; the last of them may carry a value, with or
                             without "="
    run … IMAGE --x          for some commands, what follows the first argument belongs to it
    unknown flag: --x        the words of the errors, and exit code 125 (1 for a wrong number of
                             arguments)

`canonical` rewrites what was typed into `--name=value … -- arguments`, which click then reads
without surprises. Commands are declared with `command`, and their flags with `switch`, `value`,
`values` and `refused`.

Source: the behaviour of `docker` 26.1; https://pkg.go.dev/github.com/spf13/pflag.
"""

from __future__ import annotations

import os

import click

from minidock.errors import MinidockError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
    ParamType = click.ParamType[Any]
else:
    ParamType = click.ParamType  # generic only since click 8.5


class Misuse(UsageError):
    """A command that cannot be run so: a wrong number of arguments, or no terminal for -it.

    Its exit code is 1, whatever the command.
    """

    exit_code = 1


class NeedsRoot(MinidockError):
    """The command was started by somebody who may not do what it does."""

    exit_code = 1


def flag_value_error(option: click.Option, text: object, reason: object) -> UsageError:
    """What is wrong with a flag's value, in Docker's words."""
    names = ", ".join(option.opts)
    return UsageError(f'invalid argument "{text}" for "{names}" flag: {reason}')


class Parsed(ParamType):
    """A flag's value, read by a function that raises ValueError with the reason.

    name: what stands behind the flag in the help text, such as "bytes".
    """

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        assert isinstance(param, click.Option)
        try:
            return self._parse(value)
        except ValueError as reason:
            raise flag_value_error(param, value, reason) from None


def parse_bool(text: str) -> bool:
    """A truth value as Go's strconv.ParseBool reads it."""
    if text in ("1", "t", "T", "true", "TRUE", "True"):
        return True
    if text in ("0", "f", "F", "false", "FALSE", "False"):
        return False
    raise ValueError(f'strconv.ParseBool: parsing "{text}": invalid syntax')


def parse_int(text: str, bits: int = 64) -> int:
    """A signed number as Go's strconv.ParseInt reads it with base 0 (0x1f, 0o17, 017 and 0b1)."""
    digits = text.lstrip("+-")
    try:
        if len(text) - len(digits) > 1 or digits != digits.strip():
            raise ValueError
        octal = len(digits) > 1 and digits[0] == "0" and digits[1] in "01234567_"
        number = int(digits, 8 if octal else 0)
    except ValueError:
        raise ValueError(f'strconv.ParseInt: parsing "{text}": invalid syntax') from None
    number = -number if text.startswith("-") else number
    if not -(1 << (bits - 1)) <= number < 1 << (bits - 1):
        raise ValueError(f'strconv.ParseInt: parsing "{text}": value out of range')
    return number


STRING = Parsed("string", str)
INT = Parsed("int", parse_int)
_BOOL = Parsed("", parse_bool)
_LIST = Parsed("list", str)


class Flag(click.Option):
    """One flag.

    bare: the value that it has when it is given without one; None: it needs a value.
    section: the heading under which `--help` shows it.
    """

    section = "Options"

    def __init__(self, *args: Any, bare: str | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.bare = bare

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        if self.hidden:
            return None
        short = [name for name in self.opts if not name.startswith("--")]
        long = [name for name in self.opts if name.startswith("--")]
        names = (f"{short[0]}, " if short else "    ") + ", ".join(long)
        return f"{names} {self.type.name}".rstrip(), self.help or ""


def switch(*names: str, help: str, default: bool | None = False, **more: Any) -> Decorator:
    """Declare a flag that is on or off: `--rm`, `--rm=false`.

    more: what click.option takes besides, such as `hidden` or `callback`.
    """
    return click.option(
        *names, cls=Flag, type=_BOOL, bare="true", default=default, help=help, **more
    )


def value(
    *names: str,
    help: str,
    type: ParamType = STRING,
    default: Any = None,
    bare: str | None = None,
) -> Decorator:
    """Declare a flag with one value; where it is given twice, the last one counts."""
    return click.option(*names, cls=Flag, type=type, default=default, help=help, bare=bare)


def values(*names: str, help: str, type: ParamType = _LIST) -> Decorator:
    """Declare a flag that may be given several times."""
    return click.option(*names, cls=Flag, type=type, multiple=True, help=help)


def refused(
    *names: str, because: str, unless: tuple[str, ...] = (), bare: str | None = None
) -> Decorator:
    """Declare a flag of Docker's that minidock refuses by name, saying why.

    unless: the values that ask for what minidock does anyway, which are accepted.
    bare: "true" for a flag that Docker has as a switch.
    """

    def refuse(text: str) -> str:
        if text in unless:
            return text
        shown = names[-1] if text in ("", "true") else f"{names[-1]} {text}"
        raise UsageError(f"{shown} is not available: {because}")

    return click.option(
        *names,
        cls=Flag,
        type=Parsed("", refuse),
        multiple=True,
        hidden=True,
        expose_value=False,
        bare=bare,
    )


def in_section(title: str, *declarations: Decorator) -> Decorator:
    """Several flags under one heading of the help text."""

    def declare(function: Callable[..., Any]) -> Callable[..., Any]:
        before = len(getattr(function, "__click_params__", ()))
        for declaration in reversed(declarations):
            function = declaration(function)
        for option in function.__click_params__[before:]:  # type: ignore[attr-defined]
            option.section = title
        return function

    return declare


class Command(click.Command):
    """A command whose arguments follow Docker's rules.

    usage: its arguments as the help text shows them, such as "CONTAINER [CONTAINER...]".
    at_least, at_most: how many arguments it takes (at_most None: any number).
    flags_first: what follows the first argument belongs to the container's command.
    needs_root: says so in one sentence to everybody else.
    failure: exit code for what the engine refuses; None keeps the error's own.
    """

    usage = ""
    at_least = 0
    at_most: int | None = 0
    needs_root = True
    failure: int | None = 1

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if ctx.resilient_parsing:  # while completing, half a flag is no error
            return super().parse_args(ctx, args)
        options = [param for param in self.params if isinstance(param, click.Option)]
        try:
            args = canonical(options, args, flags_first=not ctx.allow_interspersed_args)
            rest = super().parse_args(ctx, args)
            self._check_count(ctx, len(ctx.params["arguments"]))
        except UsageError as error:
            error.add_note(f"see:  {ctx.command_path} --help")
            raise
        return rest

    def invoke(self, ctx: click.Context) -> Any:
        if self.needs_root and os.geteuid() != 0:
            raise NeedsRoot(f"`{ctx.command_path}` needs root", hint=f"sudo {ctx.command_path} …")
        try:
            return super().invoke(ctx)
        except MinidockError as error:
            if isinstance(error, UsageError):
                error.add_note(f"see:  {ctx.command_path} --help")
            if self.failure and error.exit_code in (1, 125) and not isinstance(error, Misuse):
                error.exit_code = self.failure
            raise

    def _check_count(self, ctx: click.Context, count: int) -> None:
        least, most = self.at_least, self.at_most
        if count >= least and (most is None or count <= most):
            return
        if most == 0:
            wanted = "accepts no arguments"
        elif most is None:
            wanted = f"requires at least {_arguments(least)}"
        elif most == least:
            wanted = f"requires exactly {_arguments(least)}"
        elif least == 0:
            wanted = f"requires at most {_arguments(most)}"
        else:
            wanted = f"requires at least {least} and at most {_arguments(most)}"
        raise Misuse(f'"{ctx.command_path}" {wanted}', hint=f"{ctx.command_path} {self._pieces()}")

    def _pieces(self) -> str:
        has_flags = any(isinstance(p, click.Option) and not p.hidden for p in self.params)
        return f"{'[OPTIONS] ' if has_flags else ''}{self.usage}".rstrip()

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_usage(ctx.command_path, self._pieces())

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in self.params:
            if isinstance(param, Flag) and (record := param.get_help_record(ctx)) is not None:
                sections.setdefault(param.section, []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)


def _arguments(count: int) -> str:
    return f"{count} argument" + ("" if count == 1 else "s")


def command(
    name: str,
    usage: str = "",
    *,
    at_least: int = 0,
    at_most: int | None = None,
    flags_first: bool = False,
    needs_root: bool = True,
    failure: int | None = 1,
    complete: Callable[..., Any] | None = None,
) -> Callable[[Callable[..., Any]], Command]:
    """Declare a command; its arguments reach the function as the tuple `arguments`.

    at_most: as many as at_least where `usage` ends without "..."; see class Command.
    complete: proposes arguments to a shell's completion (click's `shell_complete`).
    """

    def declare(function: Callable[..., Any]) -> Command:
        function = click.argument(
            "arguments", nargs=-1, type=click.UNPROCESSED, shell_complete=complete
        )(function)
        settings = {"allow_interspersed_args": not flags_first}
        made = click.command(name, cls=Command, context_settings=settings)(function)
        made.usage = usage
        made.at_least = at_least
        made.at_most = at_most if at_most is not None or usage.endswith(("...]", "...")) else 0
        made.needs_root = needs_root
        made.failure = failure
        return made

    return declare


def canonical(options: list[click.Option], typed: list[str], *, flags_first: bool) -> list[str]:
    """What was typed, as `--name=value`s, then `--`, then the arguments.

    flags_first: the first argument ends the flags.
    Raises UsageError in pflag's words.
    """
    by_name = {name: option for option in options for name in option.opts}
    flags: list[str] = []
    arguments: list[str] = []
    rest = list(reversed(typed))
    while rest:
        word = rest.pop()
        if word == "--":
            arguments += reversed(rest)
            break
        if word.startswith("--"):
            flags.append(_long(by_name, word, rest))
        elif word.startswith("-") and len(word) > 1:
            flags += _short(by_name, word, rest)
        else:
            arguments.append(word)
            if flags_first:
                arguments += reversed(rest)
                break
    return [*flags, "--", *arguments]


def _long(by_name: dict[str, click.Option], word: str, rest: list[str]) -> str:
    """One `--name`, `--name=value` or `--name value`, made whole."""
    name, equals, text = word.partition("=")
    if name == "--" or name.startswith("---"):
        raise UsageError(f"bad flag syntax: {word}")
    if name == "--help":
        return name
    if name not in by_name:
        raise UsageError(f"unknown flag: {name}", hint=_nearest(name, by_name))
    if equals:
        return word
    if (bare := getattr(by_name[name], "bare", None)) is not None:
        return f"{name}={bare}"
    if not rest:
        raise UsageError(f"flag needs an argument: {name}")
    return f"{name}={rest.pop()}"


def _short(by_name: dict[str, click.Option], word: str, rest: list[str]) -> list[str]:
    """A bundle such as `-it`, `-p8080:80`, `-d=false` or `-e A=1`, as long flags."""
    whole: list[str] = []
    letters = word[1:]
    while letters:
        letter, letters = letters[0], letters[1:]
        option = by_name.get(f"-{letter}")
        if option is None:
            raise UsageError(f"unknown shorthand flag: '{letter}' in -{letter}{letters}")
        name = option.opts[-1]
        if letters.startswith("=") and len(letters) > 1:
            text, letters = letters[1:], ""
        elif (bare := getattr(option, "bare", None)) is not None:
            text = bare
        elif letters:
            text, letters = letters, ""
        elif rest:
            text = rest.pop()
        else:
            raise UsageError(f"flag needs an argument: '{letter}' in -{letter}")
        whole.append(f"{name}={text}")
    return whole


def _nearest(name: str, known: dict[str, click.Option]) -> str:
    """A hint that names the flag that was probably meant."""
    from difflib import get_close_matches

    shown = [flag for flag, option in known.items() if not option.hidden]
    near = get_close_matches(name, shown, n=1, cutoff=0.7)
    return f"did you mean {near[0]}?" if near else ""
