"""Command groups that import a command's module only when the command runs.

A table locates each command: name -> (heading, "module:attribute", description). `--help` and
completion read the table; only the command that runs costs an import.
"""

from __future__ import annotations

from minidock.cli.frame.command import HelpRequest, HelpTopic
from minidock.cli.frame.pflag import parse
from minidock.errors import MinidockError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from minidock.cli.frame.command import Command

    Table = dict[str, tuple[str, str, str]]


class UnknownCommand(MinidockError):
    """The command does not exist."""

    exit_code = 1


class Group(HelpTopic):
    """A group of commands; aliases work, but `--help` does not list them as commands.

    function: holds the group's flags and its help text; called with the given flags. If it returns
    True, no command runs.
    absent: Docker's commands that minidock does not have -> the reason.
    """

    def __init__(
        self,
        table: Table,
        function: Callable[[dict[str, object]], bool | None],
        *,
        aliases: dict[str, str] | None = None,
        absent: dict[str, str] | None = None,
    ) -> None:
        super().__init__(function)
        self.table = table
        self.function = function
        self.aliases = aliases or {}
        self.absent = absent or {}

    def run(self, path: str, typed: list[str]) -> int:
        """Parse the command line after the group's name and run it; returns the exit code.

        Raises HelpRequest for --help, and for an empty command line.
        """
        given, arguments = parse(self.flags, typed, flags_first=True)
        if "help" in given or not (given or arguments):
            raise HelpRequest(self, path)
        if self.function(given) or not arguments:
            return 0
        name, *rest = arguments
        if name == "help" and name not in self.table:
            return self.run(path, [*rest, "--help"])
        found = self.find(name)
        if found is None:
            raise self._unknown(path, name)
        return found.run(f"{path} {name}", rest)

    def synopsis(self) -> str:
        """Return "[OPTIONS] COMMAND": the usage after the group's name."""
        return "[OPTIONS] COMMAND" if any(not flag.hidden for flag in self.flags) else "COMMAND"

    def find(self, name: str) -> Command | Group | None:
        """Find a command by its name or alias, and import its module."""
        name = self.aliases.get(name, name)
        if name not in self.table:
            return None
        from importlib import import_module

        module, _, attribute = self.table[name][1].partition(":")
        found: Command | Group = getattr(import_module(f"minidock.cli.verbs.{module}"), attribute)
        return found

    def _unknown(self, path: str, name: str) -> UnknownCommand:
        if name in self.absent:
            return UnknownCommand(f"'{path} {name}' is not available: {self.absent[name]}")
        from difflib import get_close_matches

        near = get_close_matches(name, [*self.table, *self.aliases], n=1)
        return UnknownCommand(
            f"'{name}' is not a {path} command",
            hint=f"did you mean '{path} {near[0]}'?" if near else f"see {path} --help",
        )
