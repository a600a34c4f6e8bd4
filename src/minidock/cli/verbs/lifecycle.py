"""`stop`, `restart`, `kill`, `rm`, `pause`, `unpause`, `wait` and `rename`.

Each command prints the names of the containers it changed, and continues after an error; the exit
code is then 1.
"""

from __future__ import annotations

from minidock.cli.frame.command import command
from minidock.cli.frame.complete import containers, paused_containers, running_containers
from minidock.cli.frame.error_output import for_each, print_error
from minidock.cli.frame.pflag import INT, switch, unsupported, value
from minidock.errors import NotFound, UsageError
from minidock.paths import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_SIGNAL = value("-s", "--signal", help="Signal to send, by name or number")
_TIME = value("-t", "--time", type=INT, help="Seconds to wait before SIGKILL")


def _named(act: Callable[[str], object]) -> Callable[[str], str]:
    """Wrap an action so that it returns the reference it was given."""

    def named(reference: str) -> str:
        act(reference)
        return reference

    return named


@command("CONTAINER [CONTAINER...]", at_least=1, complete=running_containers)
@_SIGNAL
@_TIME
def stop(arguments: tuple[str, ...], *, signal: str | None, time: int | None) -> int:
    """Stop running containers"""
    from minidock.engine.lifecycle.stop import stop as act

    store = Store()
    return for_each(
        arguments, _named(lambda ref: act(store, ref, timeout_seconds=time, signal=signal))
    )


@command("CONTAINER [CONTAINER...]", at_least=1, complete=containers)
@_SIGNAL
@_TIME
def restart(arguments: tuple[str, ...], *, signal: str | None, time: int | None) -> int:
    """Stop containers and start them again"""
    from minidock.engine.lifecycle.restart import restart as act

    store = Store()
    return for_each(
        arguments, _named(lambda ref: act(store, ref, timeout_seconds=time, signal=signal))
    )


@command("CONTAINER [CONTAINER...]", at_least=1, complete=running_containers)
@_SIGNAL
def kill(arguments: tuple[str, ...], *, signal: str | None) -> int:
    """Send a signal to containers (default SIGKILL)"""
    from minidock.engine.lifecycle.kill import kill as act

    store = Store()
    return for_each(arguments, _named(lambda ref: act(store, ref, signal=signal or "SIGKILL")))


@command("CONTAINER [CONTAINER...]", at_least=1, complete=containers)
@switch("-f", "--force", help="Kill and remove a running container")
@switch("-v", "--volumes", help="Remove the container's anonymous volumes too")
@unsupported(
    "-l", "--link", because="links are a legacy feature of Docker", unless=("false",), bare="true"
)
def rm(arguments: tuple[str, ...], *, force: bool, volumes: bool) -> int:
    """Remove containers"""
    from minidock.engine.lifecycle.remove import remove

    store = Store()

    def remove_one(reference: str) -> str | None:
        try:
            remove(store, reference.lstrip("/"), force=force, volumes=volumes)
        except NotFound as error:
            if not force:
                raise
            print_error(error)  # with -f a missing container is not an error
            return None
        return reference

    return for_each(arguments, remove_one)


@command("CONTAINER [CONTAINER...]", at_least=1, complete=running_containers)
def pause(arguments: tuple[str, ...]) -> int:
    """Freeze all processes of containers"""
    from minidock.engine.lifecycle.pause import pause as act

    store = Store()
    return for_each(arguments, _named(lambda ref: act(store, ref)))


@command("CONTAINER [CONTAINER...]", at_least=1, complete=paused_containers)
def unpause(arguments: tuple[str, ...]) -> int:
    """Thaw all processes of paused containers"""
    from minidock.engine.lifecycle.pause import unpause as act

    store = Store()
    return for_each(arguments, _named(lambda ref: act(store, ref)))


@command("CONTAINER [CONTAINER...]", at_least=1, complete=running_containers)
def wait(arguments: tuple[str, ...]) -> int:
    """Wait until containers stop, and print their exit codes"""
    from minidock.engine.lifecycle.wait import wait as act

    store = Store()
    return for_each(arguments, lambda ref: act(store, ref))


@command("CONTAINER NEW_NAME", at_least=2, at_most=2, complete=containers)
def rename(arguments: tuple[str, ...]) -> None:
    """Rename a container"""
    from minidock.engine.lifecycle.rename import rename as act

    old, new = arguments
    if not old.strip() or not new.strip():
        raise UsageError("Neither old nor new names may be empty")
    act(Store(), old, new.lstrip("/"))
