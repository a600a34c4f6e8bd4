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
    from collections.abc import Callable

    from minidock.cli.flags.flag_values import StorageFlags
    from minidock.document_types.host_config import HostConfig

_RECURSIVE = {
    "enabled": "",
    "disabled": "NonRecursive",
    "writable": "ReadOnlyNonRecursive",
    "readonly": "ReadOnlyForceRecursive",
}


def parse_mount(text: str) -> dict[str, object]:
    """Parse a --mount, such as "type=bind,src=/a,dst=/b,readonly", into the API's Mount."""
    fields = read_record(text)
    mount: dict[str, object] = {"Type": "volume"}
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


def _local(path: str) -> str:
    """ "." and "./x" are paths of this directory; "x" is the name of a volume."""
    return os.path.abspath(path) if path == "." or path.startswith("./") else path


# Keys whose value becomes one field: the object that the field is in, its name, the value's parser.
_FIELDS: dict[str, tuple[str, str, Callable[[str], object]]] = {
    "type": ("", "Type", str.lower),
    "source": ("", "Source", _local),
    "target": ("", "Target", str),
    "consistency": ("", "Consistency", str.lower),  # only macOS heeds it: any value is accepted
    "bind-propagation": ("BindOptions", "Propagation", str.lower),
    "volume-subpath": ("VolumeOptions", "Subpath", str),
    "tmpfs-size": ("TmpfsOptions", "SizeBytes", size_bytes),
    "tmpfs-mode": ("TmpfsOptions", "Mode", octal),
}
_ALIASES = {"src": "source", "dst": "target", "destination": "target"}
# Keys that are true or false; "false" leaves a bind's or a volume's field as it was.
_SWITCHES = {
    "readonly": ("", "ReadOnly"),
    "ro": ("", "ReadOnly"),
    "volume-nocopy": ("VolumeOptions", "NoCopy"),
    "bind-nonrecursive": ("BindOptions", "NonRecursive"),
}


def _mount_field(mount: dict[str, object], key: str, setting: str, field: str) -> None:
    """Set the field of Mount for one "key=value" of a --mount."""
    key = _ALIASES.get(key, key)
    if key in _FIELDS:
        place, name, parse = _FIELDS[key]
        _options(mount, place)[name] = _parsed(key, setting, parse)
    elif key in _SWITCHES:
        place, name = _SWITCHES[key]
        _switch(mount, place, name, is_on=bool(_parsed(key, setting, parse_bool)))
    elif key == "bind-recursive":
        _recursive(mount, setting)
    elif key == "volume-label":
        name, _, text = setting.partition("=")
        _options(mount, "VolumeOptions", "Labels")[name] = text
    elif key == "volume-driver":
        _options(mount, "VolumeOptions", "DriverConfig")["Name"] = setting
    elif key == "volume-opt":
        name, _, text = setting.partition("=")
        _options(mount, "VolumeOptions", "DriverConfig", "Options")[name] = text
    else:
        raise ValueError(f"unexpected key '{key}' in '{field}'")


def _options(mount: dict[str, object], *places: str) -> dict[str, object]:
    """The object in a Mount by its path, made if missing; "" is the Mount itself."""
    options = mount
    for place in filter(None, places):
        inner = options.setdefault(place, {"DriverConfig": {}} if place == "VolumeOptions" else {})
        assert isinstance(inner, dict)
        options = inner
    return options


def _switch(mount: dict[str, object], place: str, name: str, *, is_on: bool) -> None:
    if is_on:
        _options(mount, place)[name] = True
    elif not place:
        mount.pop(name, None)


def _recursive(mount: dict[str, object], setting: str) -> None:
    """Set bind-recursive: whether submounts of the source are included, and read-only."""
    name = _RECURSIVE.get(setting)
    if name is None:
        raise ValueError(
            f"invalid value for bind-recursive: {setting} "
            '(must be "enabled", "disabled", "writable", or "readonly")'
        )
    if name:
        _options(mount, "BindOptions")[name] = True


def _check_recursive(mount: dict[str, object]) -> None:
    """Raise ValueError if bind-recursive needs a read-only mount and the mount is writable."""
    options = mount.get("BindOptions")
    if not isinstance(options, dict):
        return
    for setting, name in _RECURSIVE.items():
        if name in ("", "NonRecursive") or not options.get(name):
            continue
        option = f"option 'bind-recursive={setting}' requires"
        if not mount.get("ReadOnly"):
            raise ValueError(f"{option} 'readonly' to be specified in conjunction")
        if setting == "readonly" and options.get("Propagation") != "rprivate":
            raise ValueError(f"{option} 'bind-propagation=rprivate' to be specified in conjunction")


def _parsed(key: str, setting: str, parse: Callable[[str], object]) -> object:
    try:
        return parse(setting)
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


def storage_fields(flags: StorageFlags) -> tuple[HostConfig, dict[str, dict[str, object]]]:
    """Return HostConfig's storage fields, and Config's anonymous volumes."""
    binds: list[str] = []
    anonymous: dict[str, dict[str, object]] = {}
    for text in dict.fromkeys(flags["volume"]):
        if _is_anonymous(text):
            anonymous[text] = {}
        else:
            source, _, rest = text.partition(":")
            binds.append(f"{_local(source)}:{rest}")
    options = _storage_options(flags["storage_opt"])
    fields: HostConfig = {
        "Binds": binds or None,
        "VolumesFrom": list(flags["volumes_from"]) or None,
        "ReadonlyRootfs": flags["read_only"],
    }
    if options:
        fields["StorageOpt"] = options
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
