"""`exec`: one more process in a running container."""

from __future__ import annotations

from minidock.cli.flags.process_flags import ENVIRONMENT, environment_file
from minidock.cli.frame.command import command
from minidock.cli.frame.complete import running_containers
from minidock.cli.frame.pflag import switch, value, values
from minidock.cli.frame.terminal import need_terminal
from minidock.errors import CommandNotFound, KernelError, UsageError
from minidock.paths import Store


@command(
    "CONTAINER COMMAND [ARG...]",
    at_least=2,
    flags_first=True,
    complete=running_containers,
)
@switch("-d", "--detach", help="Leave the command running and return at once")
@value("--detach-keys", help="Keys that detach, instead of ctrl-p,ctrl-q")
@values(
    "-e",
    "--env",
    type=ENVIRONMENT,
    help="A variable of the environment: NAME=VALUE, or NAME to pass it on",
)
@values("--env-file", help="A file with a variable in each line")
@switch("-i", "--interactive", help="Keep standard input open")
@switch("--privileged", help="All capabilities for the command")
@switch("-t", "--tty", help="Allocate a pseudo-TTY")
@value("-u", "--user", default="", help="The user, by name or number, and the group: USER[:GROUP]")
@value("-w", "--workdir", default="", help="The directory to start in")
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
    """Start one more program in a running container"""
    from minidock.engine.monitor.exec_client import execute as execute_in

    container, *words = arguments
    process = {
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
        try:
            return execute_in(Store(), container, process, None) or 0
        except CommandNotFound as error:
            error.exit_code = 1
            raise
    from minidock.engine.monitor.attach import Attachment

    if tty and interactive:
        need_terminal("leave out -t, or -i")
    # Signals are not passed on to an exec'd process, as in Docker: they end this command.
    attachment = Attachment(
        stdin=interactive, detach_keys=detach_keys or "ctrl-p,ctrl-q", sig_proxy=False
    )
    try:
        return execute_in(Store(), container, process, attachment) or 0
    except (CommandNotFound, KernelError, UsageError) as error:
        error.exit_code = 126  # Docker's, here also for a command that is not there
        raise
