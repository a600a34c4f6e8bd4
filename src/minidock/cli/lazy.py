"""Groups of commands whose modules are imported only when a command is run.

A table says where each command is: name -> (heading, "module:attribute", one line). `--help` and
completion read the table; only the command that is typed costs an import.
"""

from __future__ import annotations

import click

from minidock.cli.command import write_flags
from minidock.cli.pflag import parse
from minidock.errors import MinidockError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from click.shell_completion import CompletionItem

    from minidock.cli.pflag import Flag

    Table = dict[str, tuple[str, str, str]]


class UnknownCommand(MinidockError):
    """A word that is no command, or not one yet."""

    exit_code = 1


class LazyGroup(click.Group):
    """A group that looks its commands up in a table; aliases are found, and not listed.

    later: Docker's commands that minidock does not have yet.
    """

    table: Table
    aliases: dict[str, str]
    later: tuple[str, ...]
    flags: list[Flag]

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        name = self.aliases.get(cmd_name, cmd_name)
        if name not in self.table:
            return None
        from importlib import import_module

        module, _, attribute = self.table[name][1].partition(":")
        found: click.Command = getattr(import_module(f"minidock.cli.{module}"), attribute)
        return found

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not ctx.resilient_parsing:
            values, arguments = parse(self.flags, args, flags_first=True)
            args = ["--", *arguments]
            if "help" in values or not (values or arguments):
                click.echo(ctx.get_help())
                ctx.exit()
            ctx.obj = values
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        found = self.get_command(ctx, name)
        if found is None and not ctx.resilient_parsing:
            raise self._unknown(ctx, name)
        return name, found, args[1:]

    def _unknown(self, ctx: click.Context, name: str) -> UnknownCommand:
        if name in self.later:
            return UnknownCommand(f"'{ctx.command_path} {name}' is not available yet")
        from difflib import get_close_matches

        near = get_close_matches(name, self.table, n=1)
        return UnknownCommand(
            f"'{name}' is not a {ctx.command_path} command",
            hint=f"did you mean '{ctx.command_path} {near[0]}'?" if near else "",
        )

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        return [
            CompletionItem(name, help=line)
            for name, (_, _, line) in self.table.items()
            if name.startswith(incomplete)
        ]

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_usage(ctx.command_path, "[OPTIONS] COMMAND" if self.flags else "COMMAND")

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        headings: dict[str, list[tuple[str, str]]] = {}
        for name, (heading, _, line) in self.table.items():
            headings.setdefault(heading, []).append((name, line))
        for heading, rows in headings.items():
            with formatter.section(heading):
                formatter.write_dl(rows)
        write_flags(self.flags, formatter)


def group(
    name: str,
    table: Table,
    *,
    callback: Callable[..., None],
    aliases: dict[str, str] | None = None,
    later: tuple[str, ...] = (),
) -> LazyGroup:
    """A group of the commands in `table`; see class LazyGroup.

    callback: holds the group's own flags, and its help text as docstring; is called before the
    command, which may be missing, with the flags that were given as the context's `obj`.
    """
    made = LazyGroup(
        name,
        callback=callback,
        help=callback.__doc__,
        invoke_without_command=True,
        context_settings={"max_content_width": 100},
    )
    made.flags = getattr(callback, "flags", [])
    made.table = table
    made.aliases = aliases or {}
    made.later = later
    made.epilog = "Run 'minidock COMMAND --help' for more information on a command."
    return made
