"""Flags of `run` and `create` for the process: command, environment, streams, labels.

They become the Config half of Docker's ContainerCreate body.
Source: Docker Engine API 1.45, ContainerConfig.
"""

from __future__ import annotations

import os

from minidock.cli.flags.units import duration_nanoseconds
from minidock.cli.frame.pflag import INT, FlagType, in_section, switch, value, values
from minidock.document import without_empty
from minidock.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.cli.flags.flag_values import ProcessFlags
    from minidock.document_types.container import CreateBody, Healthcheck

_BLANKS = " \t"


def _stream(text: str) -> str:
    if text.lower() not in ("stdin", "stdout", "stderr"):
        raise ValueError("valid streams are STDIN, STDOUT and STDERR")
    return text.lower()


def environment_entry(text: str) -> str:
    """Return "A=1" unchanged; "A" with its value here, or "A" alone if it is not set here.

    An entry without "=" makes the engine remove the variable of the image.
    """
    name, equals, _ = text.partition("=")
    if not name:
        raise ValueError(f"invalid environment variable: {text}")
    if equals or name not in os.environ:
        return text
    return f"{name}={os.environ[name]}"


def _label(text: str) -> str:
    name = text.partition("=")[0]
    if not name:
        raise ValueError(f"invalid label '{text}': empty name")
    if any(character.isspace() for character in name):
        raise ValueError(f"label '{name}' contains whitespaces")
    return text


ENVIRONMENT = FlagType("list", environment_entry)
_DURATION = FlagType("duration", duration_nanoseconds)
_INTERVAL = "Time between two health checks (ms|s|m|h)"

process_flags = in_section(
    "Process",
    values(
        "-a",
        "--attach",
        type=FlagType("list", _stream),
        help="Attach only to this stream (stdin|stdout|stderr)",
    ),
    value("--detach-keys", help="Key sequence that detaches (default ctrl-p,ctrl-q)"),
    value("--entrypoint", help="Run this program instead of the image's ENTRYPOINT"),
    values(
        "-e",
        "--env",
        type=ENVIRONMENT,
        help="Set an environment variable (NAME=VALUE; NAME: its value here)",
    ),
    values("--env-file", help="Read environment variables from a file, one per line"),
    value(
        "-h", "--hostname", default="", help="Host name of the container (default: its short ID)"
    ),
    value("--domainname", default="", help="NIS domain name of the container"),
    switch(
        "--init",
        default=None,
        help="Run an init as PID 1 that forwards signals and reaps zombies",
    ),
    switch("-i", "--interactive", help="Keep stdin open, also when not attached"),
    values(
        "-l",
        "--label",
        type=FlagType("list", _label),
        help="Set a label of the container (NAME or NAME=VALUE)",
    ),
    values("--label-file", help="Read labels from a file, one per line"),
    value("--stop-signal", default="", help="Signal that `stop` sends first"),
    value("--stop-timeout", type=INT, help="Seconds that `stop` waits before SIGKILL"),
    switch("-t", "--tty", help="Allocate a pseudo-TTY"),
    value(
        "-u",
        "--user",
        default="",
        help="User name or UID, and optionally group name or GID (USER[:GROUP])",
    ),
    value("-w", "--workdir", default="", help="Working directory of the process"),
    value("--health-cmd", default="", help="Command that checks the health of the container"),
    value("--health-interval", type=_DURATION, default=0, help=_INTERVAL),
    value(
        "--health-retries",
        type=INT,
        default=0,
        help="Consecutive failures that make the container unhealthy",
    ),
    value(
        "--health-start-interval",
        type=_DURATION,
        default=0,
        help="Time between two health checks in the start period (ms|s|m|h)",
    ),
    value(
        "--health-start-period",
        type=_DURATION,
        default=0,
        help="Time after the start in which failures do not count towards the retries (ms|s|m|h)",
    ),
    value(
        "--health-timeout",
        type=_DURATION,
        default=0,
        help="Timeout of one health check (ms|s|m|h)",
    ),
    switch("--no-healthcheck", help="Disable the HEALTHCHECK of the image"),
)


def config_fields(flags: ProcessFlags, arguments: tuple[str, ...]) -> CreateBody:
    """Return the Config half of the body; `arguments`: the image, then its command."""
    image, *command = arguments
    attach = flags["attach"]  # without -a: the output, and the input with -i
    attaches_stdin = "stdin" in attach or flags["interactive"]
    environment = [line for path in flags["env_file"] for line in environment_file(path)]
    fields: CreateBody = {
        "Hostname": flags["hostname"],
        "Domainname": flags["domainname"],
        "User": flags["user"],
        "AttachStdin": attaches_stdin,
        "AttachStdout": "stdout" in attach or not attach,
        "AttachStderr": "stderr" in attach or not attach,
        "Tty": flags["tty"],
        "OpenStdin": flags["interactive"],
        "StdinOnce": flags["interactive"] and attaches_stdin,
        "Env": [*environment, *flags["env"]] or None,
        "Cmd": command or None,
        "Image": image,
        "WorkingDir": flags["workdir"],
        "Entrypoint": None if flags["entrypoint"] is None else [flags["entrypoint"]],
        "Labels": labels(flags["label"], flags["label_file"]),
    }
    if health := _health(flags):
        fields["Healthcheck"] = health
    if flags["stop_signal"]:
        fields["StopSignal"] = flags["stop_signal"]
    if flags["stop_timeout"] is not None:
        fields["StopTimeout"] = flags["stop_timeout"]
    return fields


def _health(flags: ProcessFlags) -> Healthcheck:
    """Return Config.Healthcheck; empty to keep that of the image."""
    given: Healthcheck = {
        "Interval": flags["health_interval"],
        "Timeout": flags["health_timeout"],
        "StartPeriod": flags["health_start_period"],
        "StartInterval": flags["health_start_interval"],
        "Retries": flags["health_retries"],
    }
    counts = {
        "interval": given["Interval"], "timeout": given["Timeout"],
        "start-period": given["StartPeriod"], "start-interval": given["StartInterval"],
        "retries": given["Retries"],
    }  # fmt: skip
    given = without_empty(given)
    command = flags["health_cmd"]
    if flags["no_healthcheck"]:
        if given or command:
            raise UsageError("--no-healthcheck conflicts with --health-* options")
        return {"Test": ["NONE"]}
    for name, count in counts.items():
        if count < 0:
            raise UsageError(f"--health-{name} cannot be negative")
    if command:
        given["Test"] = ["CMD-SHELL", command]
    return given


def labels(given: tuple[str, ...], files: tuple[str, ...]) -> dict[str, str]:
    """Merge labels of files and flags; flags win. A name without "=" in a file is ignored."""
    lines = [line for path in files for line in _key_values(path, "label") if "=" in line]
    pairs = [line.partition("=") for line in (*lines, *given)]
    return {name: text for name, _, text in pairs}


def environment_file(path: str) -> list[str]:
    """Read an --env-file; a name without "=" takes its value here, or is dropped if unset here."""
    entries = []
    for line in _key_values(path, "env"):
        if "=" in line:
            entries.append(line)
        elif line in os.environ:
            entries.append(f"{line}={os.environ[line]}")
    return entries


def _key_values(path: str, kind: str) -> list[str]:
    """Read lines NAME=VALUE or NAME of a file, without comments and empty lines."""
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        reason = (error.strerror or "").lower()
        raise UsageError(f"open {path}: {reason}") from error
    lines = []
    for number, raw in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        try:
            line = raw.removesuffix(b"\r").decode().lstrip(_BLANKS)
        except UnicodeDecodeError:
            raise UsageError(
                f"{kind} file {path} contains invalid utf8 bytes at line {number}"
            ) from None
        if not line or line.startswith("#"):
            continue
        name = line.partition("=")[0]
        if not name:
            raise UsageError(f"invalid {kind} file ({path}): no variable name on line '{line}'")
        if any(blank in name for blank in _BLANKS):
            raise UsageError(
                f"invalid {kind} file ({path}): variable '{name}' contains whitespaces"
            )
        lines.append(line)
    return lines
