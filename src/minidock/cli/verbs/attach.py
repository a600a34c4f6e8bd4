"""`attach`: our terminal or pipes, connected to a running container's."""

from __future__ import annotations

from minidock.cli.frame.command import command
from minidock.cli.frame.complete import running_containers
from minidock.cli.frame.pflag import switch, value
from minidock.cli.frame.require_terminal import require_terminal
from minidock.paths import Store


@command("CONTAINER", at_least=1, at_most=1, complete=running_containers)
@value("--detach-keys", help="Key sequence that detaches (default ctrl-p,ctrl-q)")
@switch("--no-stdin", help="Do not attach to stdin")
@switch("--sig-proxy", default=True, help="Forward received signals to the process")
def attach(
    arguments: tuple[str, ...], *, detach_keys: str | None, no_stdin: bool, sig_proxy: bool
) -> int:
    """Attach to the standard streams of a running container"""
    from minidock.engine.container.lookup import find
    from minidock.engine.monitor.attach import Attachment
    from minidock.engine.monitor.attach import attach as attach_to

    store = Store()
    attachment = Attachment(
        stdin=not no_stdin,
        detach_keys=detach_keys or "ctrl-p,ctrl-q",
        sig_proxy=sig_proxy,
    )
    config = find(store, arguments[0]).config
    if config.get("Tty") and config.get("OpenStdin") and not no_stdin:
        require_terminal("--no-stdin only listens")
    return attach_to(store, arguments[0], attachment)
