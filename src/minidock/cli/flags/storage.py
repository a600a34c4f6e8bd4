"""Flags of `run` and `create` for storage: volumes, mounts, tmpfs, the root file system.

They become HostConfig's Binds, Mounts, Tmpfs and VolumesFrom, and Config's Volumes.
Source: Docker Engine API 1.45, Mount and HostConfig.Binds.
"""

from __future__ import annotations

import os

from minidock.cli.flags.units import size_bytes
from minidock.cli.frame.pflag import FlagType, in_section, parse_bool, switch, unsupported, values
from minidock.comma_separated import read_record
from minidock.errors import UsageError
from minidock.numerals import octal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


_RECURSIVE = {
    "enabled": "",
    "disabled": "NonRecursive",
    "writable": "ReadOnlyNonRecursive",
    "readonly": "ReadOnlyForceRecursive",
}
_SWITCHES = ("readonly", "ro", "volume-nocopy", "bind-nonrecursive")


def parse_mount(text: str) -> dict[str, Any]:
    """Parse a --mount, such as "type=bind,src=/a,dst=/b,readonly", into the API's Mount."""
    fields = read_record(text)
    mount: dict[str, Any] = {"Type": "volume"}
    kinds = set()
    for field in fields:
        name, equals, setting = field.partition("=")
        key = name.lower()
        if not equals and key not in _SWITCHES:
            raise ValueError(f"invalid field '{field}' must be a key=value pair")
        kinds.add(key.partition("-")[0])
        _mount_field(mount, key, setting if equals else "true", field)
    if "Target" not in mount:
        raise ValueError("target is required")
    kind = mount["Type"]
    for other in ("volume", "bind", "tmpfs"):
        if other != kind and other in kinds:
            raise ValueError(f"cannot mix '{other}-*' options with mount type '{kind}'")
    _check_recursive(mount)
    return mount


def _mount_field(mount: dict[str, Any], key: str, setting: str, field: str) -> None:
    """Set the field of Mount for one "key=value" of a --mount."""
    if key == "type":
        mount["Type"] = setting.lower()
    elif key in ("source", "src"):
        mount["Source"] = _local(setting)
    elif key in ("target", "dst", "destination"):
        mount["Target"] = setting
    elif key in ("readonly", "ro"):
        mount.pop("ReadOnly", None)
        if _truth(key, setting):
            mount["ReadOnly"] = True
    elif key == "consistency":
        mount["Consistency"] = setting.lower()  # has an effect only on macOS: any value is accepted
    elif key == "bind-propagation":
        mount.setdefault("BindOptions", {})["Propagation"] = setting.lower()
    elif key == "bind-nonrecursive":
        _not_recursive(mount, _truth(key, setting))
    elif key == "bind-recursive":
        _recursive(mount, setting)
    elif key == "volume-nocopy":
        if _truth(key, setting):
            _volume_options(mount)["NoCopy"] = True
    elif key == "volume-label":
        name, _, text = setting.partition("=")
        _volume_options(mount).setdefault("Labels", {})[name] = text
    elif key == "tmpfs-size":
        mount.setdefault("TmpfsOptions", {})["SizeBytes"] = _number(key, setting, size_bytes)
    elif key == "tmpfs-mode":
        mount.setdefault("TmpfsOptions", {})["Mode"] = _number(key, setting, octal)
    elif key == "volume-driver":
        _volume_options(mount)["DriverConfig"]["Name"] = setting
    elif key == "volume-opt":
        name, _, text = setting.partition("=")
        _volume_options(mount)["DriverConfig"].setdefault("Options", {})[name] = text
    elif key == "volume-subpath":
        _volume_options(mount)["Subpath"] = setting
    else:
        raise ValueError(f"unexpected key '{key}' in '{field}'")


def _not_recursive(mount: dict[str, Any], wanted: bool) -> None:
    if wanted:
        mount.setdefault("BindOptions", {})["NonRecursive"] = True


def _recursive(mount: dict[str, Any], setting: str) -> None:
    """Set bind-recursive: whether submounts of the source are included, and read-only."""
    name = _RECURSIVE.get(setting)
    if name is None:
        raise ValueError(
            f"invalid value for bind-recursive: {setting} "
            '(must be "enabled", "disabled", "writable", or "readonly")'
        )
    if name:
        mount.setdefault("BindOptions", {})[name] = True


def _check_recursive(mount: dict[str, Any]) -> None:
    """Raise ValueError if bind-recursive needs a read-only mount and the mount is writable."""
    options = mount.get("BindOptions") or {}
    for setting, name in _RECURSIVE.items():
        if name in ("", "NonRecursive") or not options.get(name):
            continue
        option = f"option 'bind-recursive={setting}' requires"
        if not mount.get("ReadOnly"):
            raise ValueError(f"{option} 'readonly' to be specified in conjunction")
        if setting == "readonly" and options.get("Propagation") != "rprivate":
            raise ValueError(f"{option} 'bind-propagation=rprivate' to be specified in conjunction")


def _volume_options(mount: dict[str, Any]) -> dict[str, Any]:
    options: dict[str, Any] = mount.setdefault("VolumeOptions", {"DriverConfig": {}})
    return options


def _truth(key: str, setting: str) -> bool:
    try:
        return parse_bool(setting)
    except ValueError:
        raise ValueError(f"invalid value for {key}: {setting}") from None


def _number(key: str, setting: str, parse: Any) -> int:
    try:
        return int(parse(setting))
    except ValueError:
        raise ValueError(f"invalid value for {key}: {setting}") from None


storage_flags = in_section(
    "Storage",
    values(
        "-v", "--volume", help="Bind mount a volume ([host path|name:]container path[:options])"
    ),
    values(
        "--mount",
        type=FlagType("mount", parse_mount),
        help="Add a mount (type=bind|volume|tmpfs,src=…,dst=…)",
    ),
    values("--tmpfs", help="Mount a tmpfs directory (path[:options])"),
    values("--volumes-from", help="Mount the volumes of another container"),
    switch("--read-only", help="Mount the root file system read-only"),
    unsupported("--volume-driver", because="the only volume driver is local", unless=("", "local")),
    values("--storage-opt", help="Storage driver options for the container (size=10g)"),
)


def storage_fields(flags: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return HostConfig's storage fields, and Config's anonymous volumes."""
    binds: list[str] = []
    anonymous: dict[str, Any] = {}
    for text in dict.fromkeys(flags["volume"]):
        if _is_anonymous(text):
            anonymous[text] = {}
        else:
            source, _, rest = text.partition(":")
            binds.append(f"{_local(source)}:{rest}")
    options = _storage_options(flags["storage_opt"])
    fields: dict[str, Any] = {
        **({"StorageOpt": options} if options else {}),
        "Binds": binds or None,
        "VolumesFrom": list(flags["volumes_from"]) or None,
        "ReadonlyRootfs": flags["read_only"],
    }
    if flags["mount"]:
        fields["Mounts"] = list(flags["mount"])
    if flags["tmpfs"]:
        pairs = [text.partition(":") for text in flags["tmpfs"]]
        fields["Tmpfs"] = {path: options for path, _, options in pairs}
    return fields, anonymous


def _storage_options(given: tuple[str, ...]) -> dict[str, str]:
    for text in given:
        if "=" not in text:
            raise UsageError("invalid storage option", hint="write it as size=10g")
    return {name: setting for name, _, setting in (text.partition("=") for text in given)}


def _is_anonymous(text: str) -> bool:
    """Whether a volume names a path in the container only, read as Docker's command line does.

    One letter before a colon is a Windows drive, not a source: `-v a:/v` is an anonymous volume
    at /a:/v. Raises UsageError for a section that is empty, or one too many.
    Source: docker/cli cli/compose/loader/volume.go (ParseVolume).
    """
    if not text:
        raise UsageError("invalid empty volume spec")
    if len(text) <= 2:
        return True
    sections, section = 0, ""
    for character in f"{text}\0":
        if character == ":" and len(section) == 1 and section.isalpha():
            section += character
        elif character not in ":\0":
            section += character
        elif not section:
            raise UsageError(f"invalid spec: {text}: empty section between colons")
        elif sections == 2 and character == ":":
            raise UsageError(f"invalid spec: {text}: too many colons")
        else:
            sections, section = sections + 1, ""
    return sections == 1


def _local(path: str) -> str:
    """ "." and "./x" are paths of this directory; "x" is the name of a volume."""
    return os.path.abspath(path) if path == "." or path.startswith("./") else path
