"""`completion`: the scripts by which a shell completes minidock's commands, flags and names.

The scripts are click's: at each Tab they ask minidock itself what would fit.
"""

from __future__ import annotations

from minidock.cli.frame.command import command
from minidock.cli.frame.complete import one_of
from minidock.errors import UsageError

SHELLS = ("bash", "fish", "zsh")


@command("bash|fish|zsh", at_least=1, at_most=1, needs_root=False, complete=one_of(*SHELLS))
def completion(arguments: tuple[str, ...]) -> None:
    """Print the completion script for a shell

    For this session: source <(minidock completion bash). For all: put it where your shell looks,
    such as /usr/share/bash-completion/completions/minidock.
    """
    from minidock.cli.click_adapter import completion_script
    from minidock.cli.commands import minidock

    shell = arguments[0]
    if shell not in SHELLS:
        raise UsageError(f"no completion for {shell}", hint=f"there is {', '.join(SHELLS)}")
    print(completion_script(minidock, shell))
