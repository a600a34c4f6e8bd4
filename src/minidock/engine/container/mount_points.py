"""The mounts requested by -v, --mount, --volumes-from and an image's VOLUME: a document's Mounts.

    -v /host/dir:/in[:ro]   a bind                -v name:/in    a named volume
    -v /in                  an anonymous volume, also for each VOLUME of the image
    --mount type=...        the same, spelled out

They are determined once, when a container is created; mounts.py mounts them at each start.

Sources: Docker Engine API v1.45 MountPoint, Mount; docker's documentation of bind mounts, volumes.
"""

from __future__ import annotations

import os

from minidock.engine.container import volumes
from minidock.engine.container.validation import check_destination, clean
from minidock.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.document_types.container import ContainerDocument, MountPoint
    from minidock.document_types.host_config import HostConfig, MountRequest, VolumeOptions
    from minidock.paths import Store

_PROPAGATION = ("private", "rprivate", "slave", "rslave", "shared", "rshared")
_CONSISTENCY = ("consistent", "cached", "delegated")  # only has an effect on macOS
_MODES = (("ro", "rw"), ("z", "Z"), ("nocopy",), _CONSISTENCY, _PROPAGATION)  # one of each


def mount_points(store: Store, document: ContainerDocument) -> list[MountPoint]:
    """Compute the document's Mounts, whose volumes may not exist yet.

    Raises UsageError for a malformed mount, and Conflict for two on one mount point.
    """
    host = document["HostConfig"]
    tmpfs = host.get("Tmpfs") or {}
    inherited = _inherited(store, host.get("VolumesFrom") or [])
    points = {point["Destination"]: point for point in [*inherited, *_requested(host, tmpfs)]}
    for target in document["Config"].get("Volumes") or {}:
        place = clean(target)
        if place not in points and place not in tmpfs:
            points[place] = _volume_point("", place, writable=True, mode="")
    return list(points.values())


def _requested(host: HostConfig, tmpfs: dict[str, str]) -> list[MountPoint]:
    """Parse the mounts of -v and --mount. Raises UsageError for two on one mount point."""
    binds = [_parse_bind(text) for text in host.get("Binds") or []]
    wanted = binds + [_from_mount(mount) for mount in host.get("Mounts") or []]
    if double := [bind["Destination"] for bind in binds if bind["Destination"] in tmpfs]:
        raise UsageError(f"Duplicate mount point: {double[0]}")
    taken: set[str] = set()
    for point in wanted:
        if point["Destination"] in taken:
            raise UsageError(f"Duplicate mount point: {point['Destination']}")
        taken.add(point["Destination"])
    return wanted


def _parse_bind(text: str) -> MountPoint:
    """Parse a -v value, such as "/host:/in:ro" or "name:/in"."""
    parts = text.split(":")
    if len(parts) > 3 or not all(parts[:2]):
        raise UsageError(
            f"invalid volume specification: '{text}'", hint="write -v SOURCE:/TARGET[:ro]"
        )
    if len(parts) == 1:
        check_destination(parts[0])
        return _volume_point("", clean(parts[0]), writable=True, mode="")
    source, target, mode = parts[0], parts[1], parts[2] if len(parts) == 3 else ""
    words = _words_of(mode)
    check_destination(target)
    place, writable = clean(target), "ro" not in words
    propagation = [word for word in words if word in _PROPAGATION]
    if source.startswith("/"):
        if "nocopy" in words:
            raise _misplaced(text, "bind", "VolumeOptions")
        return _bind_point(
            clean(source),
            place,
            writable=writable,
            mode=mode,
            propagation=propagation[0] if propagation else "rprivate",
            create=True,
        )
    if propagation:
        raise _misplaced(text, "volume", "BindOptions")
    return _volume_point(source, place, writable=writable, mode=mode or "z")


def _words_of(mode: str) -> list[str]:
    """Parse the mode of -v. Raises UsageError for an unknown word, and for two of one kind."""
    words = mode.split(",") if mode else []
    kinds = [kind for word in words for kind in _MODES if word in kind]
    if len(kinds) != len(words) or len({*kinds}) != len(kinds):
        raise UsageError(
            f"invalid mode: {mode}",
            hint="at most one of each: ro or rw, z or Z, nocopy, a propagation",
        )
    return words


def _misplaced(text: str, kind: str, field: str) -> UsageError:
    return UsageError(
        f"invalid volume specification: '{text}': invalid mount config for type \"{kind}\": "
        f"field {field} must not be specified"
    )


def _from_mount(mount: MountRequest) -> MountPoint:
    """Convert a --mount, in Docker's API form."""
    target = mount.get("Target") or ""
    check_destination(target)
    kind = mount.get("Type") or "volume"
    if kind not in _MOUNT_TYPES:
        raise UsageError(f"mount type {kind!r} is not supported", hint="bind, volume and tmpfs are")
    return _MOUNT_TYPES[kind](mount, clean(target))


def _bind_from_mount(mount: MountRequest, target: str) -> MountPoint:
    """Convert --mount type=bind. Its source must exist, unlike that of -v."""
    source, options = mount.get("Source") or "", mount.get("BindOptions") or {}
    if not source:
        raise UsageError('invalid mount config for type "bind": field Source must not be empty')
    if not source.startswith("/"):
        raise UsageError(f'invalid mount config for type "bind": {source!r} is not absolute')
    if not os.path.exists(source):
        raise UsageError(
            f'invalid mount config for type "bind": bind source path does not exist: {source}',
            hint="create it first; -v would create it",
        )
    propagation = options.get("Propagation") or "rprivate"
    if propagation not in _PROPAGATION:
        raise UsageError(
            f'invalid mount config for type "bind": invalid propagation mode: {propagation}',
            hint=f"one of {', '.join(_PROPAGATION)}",
        )
    point = _bind_point(
        clean(source),
        target,
        writable=not mount.get("ReadOnly"),
        mode="",
        propagation=propagation,
        create=False,
    )
    for option in ("NonRecursive", "ReadOnlyNonRecursive"):
        if options.get(option):
            point[option] = True
    return point


def _volume_from_mount(mount: MountRequest, target: str) -> MountPoint:
    """Convert --mount type=volume, with the options for a volume that does not exist yet."""
    source, options = mount.get("Source") or "", mount.get("VolumeOptions") or {}
    if not source:
        _check_anonymous(mount, options)
    point = _volume_point(source, target, writable=not mount.get("ReadOnly"), mode="z")
    if options.get("NoCopy"):
        point["NoCopy"] = True
    if options.get("Labels"):
        point["Labels"] = options["Labels"]
    if options.get("DriverConfig"):
        point["AskedDriver"] = options["DriverConfig"]
    if subpath := options.get("Subpath"):
        if subpath.startswith("/") or ".." in subpath.split("/"):
            raise UsageError(
                'invalid mount config for type "volume": '
                "subpath must be a relative path within the volume"
            )
        point["Subpath"] = subpath
    return point


def _tmpfs_from_mount(mount: MountRequest, target: str) -> MountPoint:
    """Convert --mount type=tmpfs."""
    if mount.get("Source"):
        raise UsageError(
            'invalid mount config for type "tmpfs": field Source must not be specified'
        )
    options = mount.get("TmpfsOptions") or {}
    return {
        "Type": "tmpfs", "Source": "", "Destination": target, "Mode": "",
        "RW": not mount.get("ReadOnly"), "Propagation": "",
        "Size": options.get("SizeBytes") or 0, "Permissions": options.get("Mode") or 0o1777,
    }  # fmt: skip


_MOUNT_TYPES = {
    "bind": _bind_from_mount,
    "volume": _volume_from_mount,
    "tmpfs": _tmpfs_from_mount,
}


def _check_anonymous(mount: MountRequest, wanted: VolumeOptions) -> None:
    """Raise UsageError for options that an anonymous volume cannot have."""
    for is_set, what in (
        (mount.get("ReadOnly"), "ReadOnly mode"), (wanted.get("Subpath"), "Subpath"),
    ):  # fmt: skip
        if is_set:
            raise UsageError(
                f'invalid mount config for type "volume": must not set {what} '
                "when using anonymous volumes",
                hint="name the volume: src=NAME",
            )


def _bind_point(
    source: str, target: str, *, writable: bool, mode: str, propagation: str, create: bool
) -> MountPoint:
    return {
        "Type": "bind", "Source": source, "Destination": target, "Mode": mode, "RW": writable,
        "Propagation": propagation, "CreateSource": create,
    }  # fmt: skip


def _volume_point(name: str, target: str, *, writable: bool, mode: str) -> MountPoint:
    """Return a volume at its mount point; "" is named when it is created.

    Raises UsageError for an invalid volume name: nothing else checks it before use.
    """
    if name:
        volumes.check_name(name)
    return {
        "Type": "volume", "Name": name, "Source": "", "Destination": target, "Driver": "local",
        "Mode": mode, "RW": writable, "Propagation": "",
    }  # fmt: skip


def _inherited(store: Store, references: list[str]) -> list[MountPoint]:
    """Return the mounts of the containers in --volumes-from."""
    from minidock.engine.container.lookup import find

    points: list[MountPoint] = []
    for reference in references:
        name, _, mode = reference.partition(":")
        words = _words_of(mode)
        if {"nocopy", *_PROPAGATION}.intersection(words):
            raise UsageError(f"invalid mode: {mode}", hint="--volumes-from takes ro, rw, z and Z")
        for point in find(store, name).document["Mounts"]:
            if point["Type"] != "tmpfs":
                writable = point["RW"] and "ro" not in words
                points.append({**point, "RW": writable, "Mode": "", "NoCopy": True})
    return points
