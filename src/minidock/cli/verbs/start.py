"""`start`: start stopped containers, optionally attached to one."""

from __future__ import annotations

from minidock.cli.frame.command import command
from minidock.cli.frame.complete import stopped_containers
from minidock.cli.frame.error_output import for_each
from minidock.cli.frame.pflag import switch, unsupported, value
from minidock.errors import MinidockError, UsageError
from minidock.paths import Store


@command("CONTAINER [CONTAINER...]", at_least=1, complete=stopped_containers)
@switch("-a", "--attach", help="Attach to stdout and stderr, and forward signals")
@switch("-i", "--interactive", help="Attach container's STDIN")
@value("--detach-keys", help="Key sequence that detaches (default ctrl-p,ctrl-q)")
@unsupported("--checkpoint", because="checkpoints are not supported")
@unsupported("--checkpoint-dir", because="checkpoints are not supported")
def start(
    arguments: tuple[str, ...], *, attach: bool, interactive: bool, detach_keys: str | None
) -> int:
    """Start stopped containers"""
    from minidock.engine.lifecycle.start import start as start_container

    store = Store()
    if not (attach or interactive):

        def start_one(reference: str) -> str:
            start_container(store, reference, attach=None)
            return reference

        return for_each(arguments, start_one)

    if len(arguments) > 1:
        raise UsageError("you cannot start and attach multiple containers at once")
    from minidock.engine.monitor.attach import Attachment

    attachment = Attachment(stdin=interactive, detach_keys=detach_keys or "ctrl-p,ctrl-q")
    try:
        return start_container(store, arguments[0], attach=attachment) or 0
    except MinidockError as error:
        error.exit_code = 1  # also for a missing command, where `run` exits with 127
        raise
