"""A command: its arguments, its privileges and its exit code on failure.

The decorator `command` declares it, on a function whose flags pflag.py declares. This module does
not import click, which would double the start-up time of `exec` and `ps`; only completion uses
click (click_adapter.py).
"""

from __future__ import annotations

import os

from minidock.cli.frame.pflag import parse
from minidock.errors import MinidockError, OutputLost, UsageError, system_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from minidock.cli.frame.complete import Proposals
    from minidock.cli.frame.pflag import Flag

    Action = Callable[..., int | None]


class Misuse(UsageError):
    """Wrong use of a command: a wrong number of arguments, or -it without a terminal.

    Its exit code is 1, whatever the command.
    """

    exit_code = 1


class NeedsRoot(MinidockError):
    """The command needs root, and the caller is not root."""

    exit_code = 1


class HelpTopic:
    """The subject of a help text: a command, or a group of commands (lazy.py).

    function: its attribute `flags` holds the flags, its docstring is the help text.
    """

    def __init__(self, function: Callable[..., object]) -> None:
        self.help = function.__doc__ or ""
        self.flags: list[Flag] = getattr(function, "flags", [])

    def synopsis(self) -> str:
        """Return the usage after the command's name; one line per form."""
        raise NotImplementedError


class HelpRequest(Exception):
    """--help was given: no command runs. path: how the topic was called."""

    def __init__(self, topic: HelpTopic, path: str) -> None:
        super().__init__(path)
        self.topic = topic
        self.path = path


class Command(HelpTopic):
    """A command whose arguments follow Docker's rules.

    usage: its arguments as the help text shows them, such as "CONTAINER [CONTAINER...]"; a line for
        each form, where it has several.
    at_least, at_most: how many arguments it takes (at_most None: any number).
    flags_first: what follows the first argument belongs to the container's command.
    needs_root: refuse other users, in one sentence.
    failure: exit code for errors of the engine; None keeps the error's own.
    complete: proposes arguments to a shell's completion (click's `shell_complete`).
    """

    def __init__(
        self,
        function: Action,
        usage: str,
        *,
        at_least: int,
        at_most: int | None,
        flags_first: bool,
        needs_root: bool,
        failure: int | None,
        complete: Proposals | None,
    ) -> None:
        super().__init__(function)
        self.function = function
        self.usage = usage
        self.at_least = at_least
        self.at_most = at_most
        self.flags_first = flags_first
        self.needs_root = needs_root
        self.failure = failure
        self.complete = complete

    def run(self, path: str, typed: list[str]) -> int:
        """Parse the command line after the command's name and run it; returns the exit code.

        path: how it was called, such as "minidock image ls".
        Raises HelpRequest for --help.
        """
        arguments, values = self.read(path, typed)
        try:
            return self._perform(arguments, values)
        except MinidockError as error:
            if isinstance(error, UsageError):
                error.add_note(f"see:  {path} --help")
            own = isinstance(error, (Misuse, OutputLost))
            if self.failure and error.exit_code in (1, 125) and not own:
                error.exit_code = self.failure
            raise

    def read(self, path: str, typed: list[str]) -> tuple[tuple[str, ...], dict[str, object]]:
        """Parse the command line as `run` does: its arguments, and the values of all flags."""
        try:
            given, arguments = parse(self.flags, typed, flags_first=self.flags_first)
            if "help" in given:
                raise HelpRequest(self, path)
            self._check_count(path, len(arguments))
        except UsageError as error:
            error.add_note(f"see:  {path} --help")
            raise
        if self.needs_root and os.geteuid() != 0:
            raise NeedsRoot(f"`{path}` needs root", hint=f"sudo {path} …")
        values = {
            f.parameter: given.get(f.parameter, f.default) for f in self.flags if not f.hidden
        }
        return arguments, values

    def _perform(self, arguments: tuple[str, ...], values: dict[str, object]) -> int:
        try:
            return self.function(arguments, **values) or 0
        except BrokenPipeError:
            raise  # the reader of our output has closed it
        except OSError as error:
            raise system_error(error) from error

    def synopsis(self) -> str:
        """Return "[OPTIONS] CONTAINER": the usage after the command's name; one line per form."""
        options = "[OPTIONS] " if any(not flag.hidden for flag in self.flags) else ""
        return "\n".join(f"{options}{form}".rstrip() for form in self.usage.split("\n"))

    def _check_count(self, path: str, count: int) -> None:
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
        raise Misuse(
            f'"{path}" {wanted}',
            hint="\n".join(f"{path} {form}".rstrip() for form in self.synopsis().split("\n")),
        )


def _arguments(count: int) -> str:
    return f"{count} argument" + ("" if count == 1 else "s")


def command(
    usage: str = "",
    *,
    at_least: int = 0,
    at_most: int | None = None,
    flags_first: bool = False,
    needs_root: bool = True,
    failure: int | None = 1,
    complete: Proposals | None = None,
) -> Callable[[Action], Command]:
    """Declare a command; its arguments reach the function as the tuple `arguments`.

    at_most: the default is 0, or unlimited if `usage` ends in "..." or in another program's
    options; the rest as in class Command.
    """
    if at_most is None and not usage.endswith(("...]", "...", " OPTIONS]")):
        at_most = 0

    def declare(function: Action) -> Command:
        return Command(
            function,
            usage,
            at_least=at_least,
            at_most=at_most,
            flags_first=flags_first,
            needs_root=needs_root,
            failure=failure,
            complete=complete,
        )

    return declare
