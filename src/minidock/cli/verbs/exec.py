"""`exec`: start one more process in a running container."""

from __future__ import annotations

from minidock.cli.flags.process_flags import ENVIRONMENT, environment_file
from minidock.cli.frame.command import command
from minidock.cli.frame.complete import running_containers
from minidock.cli.frame.pflag import switch, value, values
from minidock.cli.frame.require_terminal import require_terminal
from minidock.errors import CommandNotFound, KernelError, UsageError
from minidock.paths import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.document_types.container import ExecConfig


@command(
    "CONTAINER COMMAND [ARG...]",
    at_least=2,
    flags_first=True,
    complete=running_containers,
)
@switch("-d", "--detach", help="Run the command in the background")
@value("--detach-keys", help="Key sequence that detaches (default ctrl-p,ctrl-q)")
@values(
    "-e",
    "--env",
    type=ENVIRONMENT,
    help="Set an environment variable (NAME=VALUE; NAME: its value here)",
)
@values("--env-file", help="Read environment variables from a file, one per line")
@switch("-i", "--interactive", help="Keep stdin open, also when not attached")
@switch("--privileged", help="Give all capabilities to the command")
@switch("-t", "--tty", help="Allocate a pseudo-TTY")
@value(
    "-u",
    "--user",
    default="",
    help="User name or UID, and optionally group name or GID (USER[:GROUP])",
)
@value("-w", "--workdir", default="", help="Working directory of the process")
def execute(
    arguments: tuple[str, ...],
    *,
    detach: bool,
    detach_keys: str | None,
    env: tuple[str, ...],
    env_file: tuple[str, ...],
    interactive: bool,
    privileged: bool,
    tty: bool,
    user: str,
    workdir: str,
) -> int:
    """Run one more command in a running container"""
    container, *words = arguments
    process: ExecConfig = {
        "AttachStdin": interactive and not detach,
        "AttachStdout": not detach,
        "AttachStderr": not detach,
        "Cmd": words,
        "Env": [*(line for path in env_file for line in environment_file(path)), *env],
        "Privileged": privileged,
        "Tty": tty,
        "User": user,
        "WorkingDir": workdir,
    }
    if detach:
        return _execute_detached(container, process)
    if tty and interactive:
        require_terminal("leave out -t, or -i")
    return _execute_attached(container, process, detach_keys=detach_keys or "ctrl-p,ctrl-q")


def _execute_detached(container: str, process: ExecConfig) -> int:
    """Return as soon as the command runs; one that does not exist is exit code 1."""
    from minidock.engine.monitor.exec_client import execute as execute_in

    try:
        return execute_in(Store(), container, process, None) or 0
    except CommandNotFound as error:
        error.exit_code = 1
        raise


def _execute_attached(container: str, process: ExecConfig, *, detach_keys: str) -> int:
    """Relay the streams until the command exits; returns its exit code."""
    from minidock.engine.monitor.attach import Attachment
    from minidock.engine.monitor.exec_client import execute as execute_in

    # Signals are not forwarded to an exec'd process, as in Docker: they terminate this command.
    attachment = Attachment(stdin=process["AttachStdin"], detach_keys=detach_keys, sig_proxy=False)
    try:
        return execute_in(Store(), container, process, attachment) or 0
    except (CommandNotFound, KernelError, UsageError) as error:
        error.exit_code = 126  # Docker's code, here also for a command that does not exist
        raise
