"""A command: what it is called with, who may run it, and with which code it fails.

Declared with `command`, over a function whose flags are declared with pflag.py. Nothing here needs
click, whose import takes as long as all else that `exec` or `ps` do before they begin: a command
that is typed is run by `Command.run`, and click comes in for completion (screen.py).
"""

from __future__ import annotations

import os

from minidock.cli.frame.pflag import parse
from minidock.errors import MinidockError, OutputLost, UsageError, system_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from minidock.cli.frame.pflag import Flag


class Misuse(UsageError):
    """A command that cannot be run so: a wrong number of arguments, or no terminal for -it.

    Its exit code is 1, whatever the command.
    """

    exit_code = 1


class NeedsRoot(MinidockError):
    """The command was started by somebody who may not do what it does."""

    exit_code = 1


class Described:
    """What `--help` tells of: a command, or a group of them (lazy.py).

    function: has the flags, and the help text as its docstring.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.help = function.__doc__ or ""
        self.flags: list[Flag] = getattr(function, "flags", [])

    def synopsis(self) -> str:
        """What follows its name; a line for each form."""
        raise NotImplementedError


class HelpAsked(Exception):
    """Somebody typed --help: nothing is run. path: the words by which the thing was called."""

    def __init__(self, thing: Described, path: str) -> None:
        super().__init__(path)
        self.thing = thing
        self.path = path


class Command(Described):
    """A command whose arguments follow Docker's rules.

    usage: its arguments as the help text shows them, such as "CONTAINER [CONTAINER...]"; a line for
        each form, where it has several.
    at_least, at_most: how many arguments it takes (at_most None: any number).
    flags_first: what follows the first argument belongs to the container's command.
    needs_root: says so in one sentence to everybody else.
    failure: exit code for what the engine refuses; None keeps the error's own.
    complete: proposes arguments to a shell's completion (click's `shell_complete`).
    """

    def __init__(
        self,
        function: Callable[..., Any],
        usage: str,
        *,
        at_least: int,
        at_most: int | None,
        flags_first: bool,
        needs_root: bool,
        failure: int | None,
        complete: Callable[..., Any] | None,
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
        """Do what was typed behind the command's name; returns the exit code.

        path: the words by which it was called, such as "minidock image ls".
        Raises HelpAsked for --help.
        """
        try:
            given, arguments = parse(self.flags, typed, flags_first=self.flags_first)
            if "help" in given:
                raise HelpAsked(self, path)
            self._check_count(path, len(arguments))
        except UsageError as error:
            error.add_note(f"see:  {path} --help")
            raise
        if self.needs_root and os.geteuid() != 0:
            raise NeedsRoot(f"`{path}` needs root", hint=f"sudo {path} …")
        values = {
            f.parameter: given.get(f.parameter, f.default) for f in self.flags if not f.hidden
        }
        try:
            return self._perform(arguments, values)
        except MinidockError as error:
            if isinstance(error, UsageError):
                error.add_note(f"see:  {path} --help")
            own = isinstance(error, (Misuse, OutputLost))
            if self.failure and error.exit_code in (1, 125) and not own:
                error.exit_code = self.failure
            raise

    def _perform(self, arguments: tuple[str, ...], values: dict[str, Any]) -> int:
        try:
            return self.function(arguments, **values) or 0
        except BrokenPipeError:
            raise  # the reader of our output has gone
        except OSError as error:
            raise system_error(error) from error

    def synopsis(self) -> str:
        """What follows the command's name: "[OPTIONS] CONTAINER"; a line for each form."""
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
    complete: Callable[..., Any] | None = None,
) -> Callable[[Callable[..., Any]], Command]:
    """Declare a command; its arguments reach the function as the tuple `arguments`.

    at_most: none, or any number where `usage` ends in "..." or in another program's options; the
    rest as in class Command.
    """
    if at_most is None and not usage.endswith(("...]", "...", " OPTIONS]")):
        at_most = 0

    def declare(function: Callable[..., Any]) -> Command:
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
