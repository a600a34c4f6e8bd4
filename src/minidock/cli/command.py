"""A command: what it is called with, how its help looks, and with which code it fails.

Declared with `command`, over a function whose flags are declared with pflag.py. click finds the
commands, prints their help and completes them; their flags are read by Docker's rules.
"""

from __future__ import annotations

import os

import click

from minidock.cli.pflag import Flag, parse
from minidock.errors import MinidockError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class Misuse(UsageError):
    """A command that cannot be run so: a wrong number of arguments, or no terminal for -it.

    Its exit code is 1, whatever the command.
    """

    exit_code = 1


class NeedsRoot(MinidockError):
    """The command was started by somebody who may not do what it does."""

    exit_code = 1


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
    flags_first = False
    needs_root = True
    failure: int | None = 1
    flags: list[Flag]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            values, arguments = parse(self.flags, args, flags_first=self.flags_first)
            if "help" in values and not ctx.resilient_parsing:
                click.echo(ctx.get_help())
                ctx.exit()
            self._check_count(ctx, len(arguments))
        except UsageError as error:
            if not ctx.resilient_parsing:  # while completing, half a flag is no error
                error.add_note(f"see:  {ctx.command_path} --help")
                raise
            values, arguments = {}, ()
        ctx.params = {"arguments": arguments}
        for flag in self.flags:
            if not flag.hidden:
                ctx.params[flag.parameter] = values.get(flag.parameter, flag.default)
        return []

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Flags and arguments as click knows them; only completion asks."""
        return [*map(_option, self.flags), *self.params]

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
        has_flags = any(not flag.hidden for flag in self.flags)
        return f"{'[OPTIONS] ' if has_flags else ''}{self.usage}".rstrip()

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_usage(ctx.command_path, self._pieces())

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_flags(self.flags, formatter)


def write_flags(flags: list[Flag], formatter: click.HelpFormatter) -> None:
    """The flags of a help text, under their headings."""
    sections: dict[str, list[tuple[str, str]]] = {}
    for flag in flags:
        if not flag.hidden:
            sections.setdefault(flag.section, []).append(flag.help_row())
    for title, rows in sections.items():
        with formatter.section(title):
            formatter.write_dl(rows)


def _option(flag: Flag) -> click.Option:
    """A flag as click knows flags."""
    return click.Option(
        [*flag.names, flag.parameter],
        is_flag=flag.bare is not None,
        multiple=flag.many,
        help=flag.help,
        hidden=flag.hidden,
    )


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

    at_most: as many as at_least, or any number where `usage` ends in "..."; see class Command.
    complete: proposes arguments to a shell's completion (click's `shell_complete`).
    """

    def declare(function: Callable[..., Any]) -> Command:
        arguments = click.Argument(["arguments"], nargs=-1, shell_complete=complete)
        made = Command(name, callback=function, params=[arguments], help=function.__doc__)
        made.flags = getattr(function, "flags", [])
        made.usage = usage
        made.at_least = at_least
        made.at_most = at_most if at_most is not None or usage.endswith(("...]", "...")) else 0
        made.flags_first = flags_first
        made.needs_root = needs_root
        made.failure = failure
        return made

    return declare
