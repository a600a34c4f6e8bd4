"""`completion`: completion scripts for commands, flags and names.

The scripts are click's: they call minidock for the proposals.
"""

from __future__ import annotations

from minidock.cli.frame.command import command
from minidock.cli.frame.complete import one_of
from minidock.errors import UsageError

SHELLS = ("bash", "fish", "zsh")


@command("bash|fish|zsh", at_least=1, at_most=1, needs_root=False, complete=one_of(*SHELLS))
def completion(arguments: tuple[str, ...]) -> None:
    """Print the completion script for a shell

    For this session: source <(minidock completion bash). For all sessions: save it where the shell
    looks for completions, such as /usr/share/bash-completion/completions/minidock.
    """
    from minidock.cli.click_adapter import completion_script
    from minidock.cli.commands import minidock

    shell = arguments[0]
    if shell not in SHELLS:
        raise UsageError(
            f"no completion for {shell}", hint=f"supported shells: {', '.join(SHELLS)}"
        )
    print(completion_script(minidock, shell))
