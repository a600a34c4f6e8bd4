"""argv of `run` and `create` -> Docker's ContainerCreate body.

The flags are declared in process_flags, limits, security, network_flags and storage. Each flag of
Docker's either sets a field of the body or is refused; tests compare the bodies with those that the
docker client sends.
Source: Docker Engine API 1.45, ContainerCreate.
"""

from __future__ import annotations

from minidock.cli.flags.limits import Unavailable, limit_fields, limit_flags
from minidock.cli.flags.network_flags import exposed_ports, network_fields, network_flags
from minidock.cli.flags.process_flags import config_fields, process_flags
from minidock.cli.flags.security import security_fields, security_flags
from minidock.cli.flags.storage import storage_fields, storage_flags
from minidock.cli.frame.command import Misuse
from minidock.cli.frame.pflag import (
    STRING,
    FlagType,
    in_section,
    switch,
    unsupported,
    value,
    values,
)
from minidock.errors import UsageError
from minidock.numerals import is_decimal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.cli.flags.flag_values import RunFlags
    from minidock.cli.frame.pflag import F
    from minidock.document_types.container import CreateBody
    from minidock.document_types.host_config import LogConfig, RestartPolicy

_LOG_DRIVERS = ("", "json-file", "none")
_LOG_OPTIONS = ("max-size", "max-file")
_LOG_OPTIONS_OF_DOCKER = (
    "compress", "env", "env-regex", "labels", "labels-regex", "max-buffer-size", "mode", "tag",
)  # fmt: skip
_PULL = "Pull image before running (always|missing|never; default missing)"


def _pull(text: str) -> str:
    if text not in ("", "always", "missing", "never"):
        raise ValueError('must be one of "always", "missing" or "never"')
    return text or "missing"


def _platform(text: str) -> str:
    """Accept this machine's platform by any name: linux/arm64, linux/aarch64, linux/arm64/v8."""
    import os

    machine = os.uname().machine
    native, variant = {"x86_64": ("amd64", "v1"), "aarch64": ("arm64", "v8")}.get(
        machine, (machine, "")
    )
    names = (native, machine)
    known = ("", "linux", *names, *(f"linux/{name}" for name in names))
    if text not in (*known, f"linux/{native}/{variant}"):
        raise ValueError(f"only linux/{native}, the platform of this machine, is available")
    return text


def _annotation(text: str) -> tuple[str, str]:
    name, _, setting = text.partition("=")
    if name.startswith("minidock."):
        raise ValueError(f"{name}: the prefix minidock. is reserved")
    return name, setting


container_flags = in_section(
    "Options",
    value("--name", help="Name of the container (default: a generated name)"),
    value("--cidfile", default="", help="Create this file and write the container ID to it"),
    switch("--rm", help="Remove the container and its anonymous volumes when it exits"),
    value("--pull", type=FlagType("string", _pull), default="missing", help=_PULL),
    switch("-q", "--quiet", help="Print no progress of the pull"),
    value(
        "--platform",
        type=FlagType("string", _platform),
        default="",
        help="Platform of the image; only that of this machine is available",
    ),
    value("--log-driver", default="", help="Logging driver for the container (json-file|none)"),
    value(
        "--restart",
        type=STRING,
        default="no",
        help="Restart policy (no|on-failure[:N]|always|unless-stopped)",
    ),
    values(
        "--annotation",
        type=FlagType("map", _annotation),
        help="Add an annotation to the bundle's config.json (NAME=VALUE)",
    ),
    values("--log-opt", help="Log driver options (max-size=10m, max-file=3)"),
    unsupported("--runtime", because="the only runtime is minidock", unless=("", "minidock")),
    unsupported(
        "--disable-content-trust",
        because="image signatures are not supported",
        unless=("true",),
        bare="true",
    ),
)


def run_flags(function: F) -> F:
    """Declare all flags that `run` and `create` share."""
    for flags in (
        security_flags, limit_flags, storage_flags, network_flags, process_flags, container_flags,
    ):  # fmt: skip
        function = flags(function)
    return function


def container_create_body(
    flags: RunFlags, arguments: tuple[str, ...], *, detach: bool = False
) -> CreateBody:
    """Convert flags and arguments to the body of Docker's ContainerCreate.

    arguments: the image, then the command. detach: `run -d` attaches no stream.
    """
    network, networking, mac_address = network_fields(flags)
    storage, volumes = storage_fields(flags)
    host = storage | limit_fields(flags) | security_fields(flags) | network
    if flags["annotation"]:
        host["Annotations"] = dict(flags["annotation"])
    host["AutoRemove"] = flags["rm"]
    host["RestartPolicy"] = _restart_policy(flags)
    host["LogConfig"] = _log_config(flags)
    host["ConsoleSize"] = _console_size() if flags["tty"] and not detach else [0, 0]
    body = config_fields(flags, arguments)
    body["Volumes"] = volumes
    body["HostConfig"] = host
    body["NetworkingConfig"] = networking
    if mac_address:
        body["MacAddress"] = mac_address
    if exposed := exposed_ports(flags):
        body["ExposedPorts"] = exposed
    if detach:
        if flags["attach"]:
            raise Misuse("Conflicting options: -a and -d")
        body.update({
            "AttachStdin": False, "AttachStdout": False, "AttachStderr": False, "StdinOnce": False,
        })  # fmt: skip
    return body


def restart_policy(text: str) -> RestartPolicy:
    """Parse --restart into the API's form; the engine validates the name."""
    name, colon, count = text.partition(":")
    if colon and not name:
        raise UsageError("invalid restart policy format: no policy provided before colon")
    digits = count[1:] if count.startswith(("+", "-")) else count
    if count and not is_decimal(digits):
        raise UsageError("invalid restart policy format: maximum retry count must be an integer")
    return {"Name": name, "MaximumRetryCount": int(count or 0)}


def _restart_policy(flags: RunFlags) -> RestartPolicy:
    policy = restart_policy(flags["restart"])
    if flags["rm"] and policy["Name"] not in ("", "no"):
        raise UsageError("Conflicting options: --restart and --rm")
    return policy


def _console_size() -> list[int]:
    """Return rows and columns of the terminal on stdout; 0, 0 without a terminal."""
    import os

    try:
        columns, rows = os.get_terminal_size(1)
    except OSError:
        return [0, 0]
    return [rows, columns]


def _log_config(flags: RunFlags) -> LogConfig:
    driver = flags["log_driver"]
    if driver not in _LOG_DRIVERS:
        raise UsageError(
            f"--log-driver {driver} is not available", hint="supported drivers: json-file, none"
        )
    options = {name: text for name, _, text in (o.partition("=") for o in flags["log_opt"])}
    if driver == "none" and options:
        raise UsageError("invalid logging opts for driver none")
    for name in options:
        if name not in _LOG_OPTIONS:
            known = "is not available" if name in _LOG_OPTIONS_OF_DOCKER else "is unknown"
            raise Unavailable(
                f"log opt '{name}' {known} for json-file log driver",
                hint=f"supported options: {', '.join(_LOG_OPTIONS)}",
            )
    return {"Type": driver, "Config": options}
