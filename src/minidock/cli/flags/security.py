"""Flags of `run` and `create` for isolation: capabilities, seccomp, namespaces, devices, sysctls.

They become HostConfig fields of Docker's ContainerCreate body.
Source: Docker Engine API 1.45, HostConfig; capabilities(7); namespaces(7).
"""

from __future__ import annotations

from minidock.cli.flags.limits import Unavailable
from minidock.cli.frame.pflag import FlagType, in_section, switch, unsupported, value, values
from minidock.errors import UsageError
from minidock.numerals import is_decimal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.cli.flags.flag_values import SecurityFlags
    from minidock.document_types.host_config import DeviceMapping, HostConfig

# Namespaced sysctls, as in Docker; any other would change the host.
_SYSCTLS = (
    "kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem",
    "kernel.shmall", "kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced",
)  # fmt: skip
_SYSCTL_TREES = ("net.", "fs.mqueue.")


def _sysctl(text: str) -> tuple[str, str]:
    name, equals, setting = text.partition("=")
    if not equals or not (name in _SYSCTLS or name.startswith(_SYSCTL_TREES)):
        raise ValueError(f"sysctl '{text}' is not allowed")
    return name, setting


def _device_rule(text: str) -> str:
    """Check a rule such as "c 1:3 mr", "b 8:* r" or "a *:* rwm"; the engine interprets it."""
    kind, _, rest = text.partition(" ")
    numbers, _, access = rest.partition(" ")
    known = [word == "*" or is_decimal(word) for word in numbers.split(":")]
    if kind not in ("a", "b", "c") or known != [True, True] or not 0 < len(access) < 4:
        raise ValueError(f"invalid device cgroup format '{text}'")
    if not set(access) <= set("rwm"):
        raise ValueError(f"invalid device cgroup format '{text}'")
    return text


security_flags = in_section(
    "Isolation",
    values("--cap-add", help="Add Linux capabilities"),
    values("--cap-drop", help="Drop Linux capabilities"),
    switch(
        "--privileged",
        help="Give extended privileges to this container (all capabilities, all devices)",
    ),
    values(
        "--security-opt", help="Security options (no-new-privileges, seccomp=FILE|unconfined, ...)"
    ),
    values("--device", help="Add a host device to the container (host[:container[:rwm]])"),
    values("--group-add", help="Add a supplementary group, by name or GID"),
    value("--pid", default="", help="PID namespace to use (host|container:NAME)"),
    value("--ipc", default="", help="IPC mode to use (private|shareable|host|container:NAME|none)"),
    value("--uts", default="", help="UTS namespace to use (host)"),
    value(
        "--cgroupns",
        default="",
        help="Cgroup namespace: the host's or a private one (host|private)",
    ),
    values("--sysctl", type=FlagType("map", _sysctl), help="Sysctl options"),
    unsupported("--userns", because="user namespaces are not supported yet", unless=("", "host")),
    unsupported(
        "--gpus",
        because="there is no GPU driver integration; pass the device nodes with --device, such as "
        "/dev/dri or /dev/nvidia0",
    ),
    values(
        "--device-cgroup-rule",
        type=FlagType("list", _device_rule),
        help="Allow devices by type, number and access, such as 'c 1:3 mr'",
    ),
    unsupported("--isolation", because="Windows only", unless=("", "default")),
)


def security_fields(flags: SecurityFlags) -> HostConfig:
    """Return the isolation fields of HostConfig."""
    options = _security_options(flags["security_opt"])
    fields: HostConfig = {
        "CapAdd": list(flags["cap_add"]) or None,
        "CapDrop": list(flags["cap_drop"]) or None,
        "Privileged": flags["privileged"],
        "SecurityOpt": options,
        "Devices": [_device(text) for text in flags["device"]],
        "GroupAdd": list(flags["group_add"]) or None,
        "PidMode": _mode(flags["pid"], "pid", "PID", ("host",), shareable=True),
        "IpcMode": _mode(
            flags["ipc"], "ipc", "IPC", ("private", "shareable", "host", "none"), True
        ),
        "UTSMode": _mode(flags["uts"], "uts", "UTS", ("host",), shareable=False),
        "CgroupnsMode": _mode(
            flags["cgroupns"], "cgroupns", "CGROUP", ("host", "private"), shareable=False
        ),
    }
    if flags["device_cgroup_rule"]:
        fields["DeviceCgroupRules"] = list(flags["device_cgroup_rule"])
    if "systempaths=unconfined" in options:  # set by the client, as two fields
        options.remove("systempaths=unconfined")
        fields["MaskedPaths"] = []
        fields["ReadonlyPaths"] = []
    if flags["sysctl"]:
        fields["Sysctls"] = dict(flags["sysctl"])
    if flags["init"] is not None:
        fields["Init"] = flags["init"]
    return fields


def _mode(mode: str, flag: str, kind: str, plain: tuple[str, ...], shareable: bool) -> str:
    """Check the mode of a namespace: private, the host's or, if shareable, a container's."""
    other = mode.removeprefix("container:")
    if mode in ("", *plain) or (shareable and other and other != mode):
        return mode
    raise (Unavailable if flag == "ipc" else UsageError)(
        f"--{flag}: invalid {kind} mode",
        hint=f"{mode!r} is not one of: {_choices(plain, shareable)}",
    )


def _choices(plain: tuple[str, ...], shareable: bool) -> str:
    return ", ".join((*plain, "container:NAME") if shareable else plain)


def _security_options(given: tuple[str, ...]) -> list[str]:
    """Return the options in the API's form, with the text of a seccomp profile."""
    options: list[str] = []
    for text in given:
        name, separator, setting = text.partition("=")
        if not separator:
            name, separator, setting = text.partition(":")
        if not separator and name != "no-new-privileges":
            raise UsageError(f'Invalid --security-opt: "{text}"')
        if name == "seccomp" and setting not in ("unconfined", "builtin"):
            options.append(f"seccomp={_seccomp_profile(setting)}")
        elif _is_known(name, setting):
            options.append(text)
        else:
            raise UsageError(
                f'--security-opt "{text}" is not available',
                hint="supported: no-new-privileges[=true|false], seccomp=FILE|unconfined|builtin, "
                "apparmor=unconfined, systempaths=unconfined, label=disable",
            )
    return options


def _is_known(name: str, setting: str) -> bool:
    settings = {
        "no-new-privileges": ("", "true", "false"),
        "seccomp": ("unconfined", "builtin"),
        "apparmor": ("unconfined",),
        "label": ("disable",),
        "systempaths": ("unconfined",),
    }
    return setting in settings.get(name, ())


def _seccomp_profile(path: str) -> str:
    """Read a profile; returns its JSON on one line, as in the API."""
    import json

    try:
        with open(path, encoding="utf-8") as file:
            profile = json.load(file)
    except OSError as error:
        reason = (error.strerror or "").lower()
        raise UsageError(
            f"opening seccomp profile ({path}) failed: open {path}: {reason}"
        ) from error
    except ValueError as error:
        raise UsageError(f"seccomp profile {path} is not JSON: {error}") from error
    return json.dumps(profile, separators=(",", ":"), ensure_ascii=False)


def _device(text: str) -> DeviceMapping:
    """ "/dev/sda", "/dev/sda:/dev/x", "/dev/sda:rw" or "/dev/sda:/dev/x:rw"."""
    parts = text.split(":")
    if not text or len(parts) > 3:
        raise UsageError(f"bad format for path: {text}")
    if parts[0].partition("=")[1] and not parts[0].startswith("/"):
        raise UsageError(f"--device {text} is not available: CDI devices are not supported")
    permissions = "rwm"
    if len(parts) == 3:
        permissions = parts.pop()
        if not _are_permissions(permissions):
            raise UsageError(f"bad mode specified: {permissions}")
    elif len(parts) == 2 and _are_permissions(parts[1]):
        permissions = parts.pop()
    for path in parts:
        if not path.startswith("/"):
            raise UsageError(f"{path} is not an absolute path")
    return {
        "PathOnHost": parts[0],
        "PathInContainer": parts[-1],
        "CgroupPermissions": permissions,
    }


def _are_permissions(text: str) -> bool:
    return bool(text) and set(text) <= set("rwm") and len(set(text)) == len(text)
