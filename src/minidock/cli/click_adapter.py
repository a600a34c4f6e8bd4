"""Shell completion: minidock's commands as click commands, for click's completion support.

Only completion imports this module; running a command and `--help` do not need click.
"""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem

from minidock.cli.frame.command import Command
from minidock.cli.frame.complete import VALUES
from minidock.cli.frame.lazy import Group
from minidock.cli.frame.pflag import parse
from minidock.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.cli.frame.pflag import Flag

_COMPLETE = "_MINIDOCK_COMPLETE"


def complete(root: Group, instruction: str) -> int:
    """Answer a completion request of a shell; instruction: such as "bash_complete"."""
    from click.shell_completion import shell_complete

    return shell_complete(_to_click(root), {}, "minidock", _COMPLETE, instruction)


def completion_script(root: Group, shell: str) -> str:
    """Return the completion script for a shell; shell: "bash", "zsh" or "fish"."""
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None
    return found(_to_click(root), {}, "minidock", _COMPLETE).source()


def _to_click(topic: Command | Group) -> click.Command:
    return _ClickCommand(topic) if isinstance(topic, Command) else _ClickGroup(topic)


class _ClickCommand(click.Command):
    def __init__(self, command: Command) -> None:
        arguments = click.Argument(["arguments"], nargs=-1, shell_complete=self._propose)
        options = [_option(flag) for flag in command.flags]
        super().__init__(None, params=[*options, arguments], help=command.help)
        self._command = command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments typed so far; an incomplete flag is not an error."""
        try:
            given, arguments = parse(
                self._command.flags, args, flags_first=self._command.flags_first
            )
        except UsageError:
            given, arguments = {}, ()
        ctx.params = {**given, "arguments": arguments}
        return []

    def _propose(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Propose the next argument: none that was typed already, none beyond the maximum."""
        typed, command = ctx.params["arguments"], self._command
        most = 1 if command.flags_first else command.at_most
        if command.complete is None or (most is not None and len(typed) >= most):
            return []
        names = command.complete(ctx, param, incomplete)
        return [CompletionItem(name) for name in names if name not in typed]


class _ClickGroup(click.Group):
    def __init__(self, group: Group) -> None:
        super().__init__(None, help=group.help)
        self._group = group

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._group.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        found = self._group.find(cmd_name)
        return None if found is None else _to_click(found)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        names = [name for flag in self._group.flags for name in flag.names if not flag.hidden]
        items = [CompletionItem(name) for name in (*names, "--help") if incomplete.startswith("-")]
        items += [CompletionItem(n, help=line) for n, (_, _, line) in self._group.table.items()]
        return [item for item in items if str(item.value).startswith(incomplete)]


def _option(flag: Flag) -> click.Option:
    return click.Option(
        [*flag.names, flag.parameter],
        is_flag=flag.bare is not None,
        multiple=flag.many,
        help=flag.help,
        hidden=flag.hidden,
        shell_complete=VALUES.get(next(name for name in flag.names if name.startswith("--"))),
    )
