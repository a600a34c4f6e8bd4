"""What is mounted into a container besides its rootfs: binds, volumes and tmpfs.

    -v /host/dir:/in[:ro]   a bind                -v name:/in    a named volume
    -v /in                  an anonymous volume, also for each VOLUME of the image
    --mount type=...        the same, spelled out  --tmpfs /in    a file system in memory

`mount_points` decides at creation, and writes the decision into the document's Mounts;
`runtime_mounts` turns it into the bundle's mounts at each start.

Sources: Docker Engine API v1.45 MountPoint, Mount; docker's documentation of bind mounts, volumes.
"""

from __future__ import annotations

import os

from minidock.engine.container import volumes
from minidock.engine.container.validation import check_destination, clean, in_container
from minidock.engine.store.timestamps import NEVER
from minidock.errors import Conflict, KernelError, NotFound, SourceNotFound, UsageError
from minidock.kernel.mount import bind_mount
from minidock.kernel.node import make_mount_point
from minidock.kernel.path import open_in_root
from minidock.paths import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from minidock.engine.container.containers import Container

_PROPAGATION = ("private", "rprivate", "slave", "rslave", "shared", "rshared")
_CONSISTENCY = ("consistent", "cached", "delegated")  # means something on a Mac only
_MODES = (("ro", "rw"), ("z", "Z"), ("nocopy",), _CONSISTENCY, _PROPAGATION)  # one of each


def mount_points(store: Store, document: dict[str, Any]) -> list[dict[str, Any]]:
    """The document's Mounts, whose volumes may still be missing.

    Raises UsageError for a malformed mount, and Conflict for two on one place.
    """
    host = document["HostConfig"]
    points: dict[str, dict[str, Any]] = {}
    for point in _inherited(store, host.get("VolumesFrom") or []):
        points[point["Destination"]] = point
    binds = [_parse_bind(text) for text in host.get("Binds") or []]
    wanted = binds + [_from_mount(mount) for mount in host.get("Mounts") or []]
    tmpfs = host.get("Tmpfs") or {}
    if double := [bind["Destination"] for bind in binds if bind["Destination"] in tmpfs]:
        raise UsageError(f"Duplicate mount point: {double[0]}")
    taken: set[str] = set()
    for point in wanted:
        if point["Destination"] in taken:
            raise UsageError(f"Duplicate mount point: {point['Destination']}")
        taken.add(point["Destination"])
        points[point["Destination"]] = point
    for target in document["Config"].get("Volumes") or {}:
        place = clean(target)
        if place not in points and place not in tmpfs:
            points[place] = _volume_point("", place, writable=True, mode="")
    return list(points.values())


def create_volumes(
    store: Store,
    points: list[dict[str, Any]],
    container_id: str,
    note: Callable[[str], None],
) -> None:
    """Make the volumes that a container's mount points want and that are missing.

    note: told of each volume's name before it is made.
    """
    for point in points:
        if point["Type"] != "volume" or point["Source"]:
            continue
        name = point["Name"]  # checked when the point was made
        try:
            known = volumes.inspect(store, name)
        except NotFound:
            labels = {} if name else {volumes.ANONYMOUS_LABEL: ""}
            labels |= point.pop("Labels", {})
            name = name or os.urandom(32).hex()
            note(name)
            driver = point.pop("AskedDriver", {})
            known = volumes.create(
                store,
                name,
                driver=driver.get("Name") or "local",
                options=driver.get("Options") or {},
                labels=labels,
                made_for=container_id,
            )
        point.pop("AskedDriver", None)  # a volume that is there stays as it is
        point["Name"] = known["Name"]
        point["Source"] = known["Mountpoint"]


def _parse_bind(text: str) -> dict[str, Any]:
    """One -v value, such as "/host:/in:ro" or "name:/in"."""
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
    """The words of a -v's mode. Raises UsageError for an unknown one, and for two of one kind."""
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


def _from_mount(mount: dict[str, Any]) -> dict[str, Any]:
    """One --mount, in Docker's API form."""
    target = mount.get("Target") or ""
    check_destination(target)
    kind, place = mount.get("Type") or "volume", clean(target)
    writable = not mount.get("ReadOnly")
    if kind == "bind":
        source = mount.get("Source") or ""
        if not source:
            raise UsageError('invalid mount config for type "bind": field Source must not be empty')
        if not source.startswith("/"):
            raise UsageError(f'invalid mount config for type "bind": {source!r} is not absolute')
        if not os.path.exists(source):
            raise UsageError(
                f'invalid mount config for type "bind": bind source path does not exist: {source}',
                hint="make it first; -v would make it for you",
            )
        propagation = (mount.get("BindOptions") or {}).get("Propagation") or "rprivate"
        if propagation not in _PROPAGATION:
            raise UsageError(
                f'invalid mount config for type "bind": invalid propagation mode: {propagation}',
                hint=f"one of {', '.join(_PROPAGATION)}",
            )
        point = _bind_point(
            clean(source), place, writable=writable, mode="", propagation=propagation, create=False
        )
        for option in ("NonRecursive", "ReadOnlyNonRecursive"):
            if (mount.get("BindOptions") or {}).get(option):
                point[option] = True
        return point
    if kind == "volume":
        wanted = mount.get("VolumeOptions") or {}
        if not mount.get("Source"):
            _check_anonymous(mount, wanted)
        point = _volume_point(mount.get("Source") or "", place, writable=writable, mode="z")
        if wanted.get("NoCopy"):
            point["NoCopy"] = True
        if wanted.get("Labels"):
            point["Labels"] = wanted["Labels"]
        if wanted.get("DriverConfig"):
            point["AskedDriver"] = wanted["DriverConfig"]
        if subpath := wanted.get("Subpath"):
            if subpath.startswith("/") or ".." in subpath.split("/"):
                raise UsageError(
                    'invalid mount config for type "volume": '
                    "subpath must be a relative path within the volume"
                )
            point["Subpath"] = subpath
        return point
    if kind == "tmpfs":
        if mount.get("Source"):
            raise UsageError(
                'invalid mount config for type "tmpfs": field Source must not be specified'
            )
        options = mount.get("TmpfsOptions") or {}
        return {
            "Type": "tmpfs", "Source": "", "Destination": place, "Mode": "", "RW": writable,
            "Propagation": "",
            "Size": options.get("SizeBytes") or 0, "Permissions": options.get("Mode") or 0o1777,
        }  # fmt: skip
    raise UsageError(f"mount type {kind!r} is not supported", hint="bind, volume and tmpfs are")


def _check_anonymous(mount: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Raise UsageError for what a volume that nothing is in yet cannot be asked for."""
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
) -> dict[str, Any]:
    return {
        "Type": "bind", "Source": source, "Destination": target, "Mode": mode, "RW": writable,
        "Propagation": propagation, "CreateSource": create,
    }  # fmt: skip


def _volume_point(name: str, target: str, *, writable: bool, mode: str) -> dict[str, Any]:
    """A volume at its mount point, "" for one that gets its name when it is made.

    Raises UsageError for what cannot be a volume's name: nothing else checks it before it is used.
    """
    if name:
        volumes.check_name(name)
    return {
        "Type": "volume", "Name": name, "Source": "", "Destination": target, "Driver": "local",
        "Mode": mode, "RW": writable, "Propagation": "",
    }  # fmt: skip


def _inherited(store: Store, references: list[str]) -> list[dict[str, Any]]:
    """The mounts of the containers that --volumes-from names."""
    from minidock.engine.container.lookup import find

    points = []
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


def make_bind_sources(document: dict[str, Any]) -> None:
    """Make the host directories that -v names and that do not exist, as Docker does.

    Raises Conflict where that cannot be done, or a --mount source is gone.
    """
    for point in document["Mounts"]:
        if point["Type"] != "bind" or os.path.exists(point["Source"]):
            continue
        if not point.get("CreateSource"):
            raise Conflict(f"bind source path does not exist: {point['Source']}")
        try:
            os.makedirs(point["Source"], exist_ok=True)
        except OSError as error:
            raise Conflict(
                f"cannot make the bind source {point['Source']}: {error.strerror}"
            ) from None


def mount_volumes(container: Container) -> None:
    """Have the volumes mounted that are a file system of their own, until the run's end.

    Raises MinidockError for one that cannot be.
    """
    for name, options in _volumes_with_options(container.store, container.document):
        from minidock.engine.container.volume_mounts import mount_for_container  # seldom wanted

        mount_for_container(container.store, container.id, name, options)


def mount_volumes_privately(store: Store, document: dict[str, Any]) -> None:
    """Mount them in a mount namespace that goes with this process."""
    for name, options in _volumes_with_options(store, document):
        from minidock.engine.container.volume_mounts import mount_volume

        mount_volume(store, name, options)


def _volumes_with_options(
    store: Store, document: dict[str, Any]
) -> Iterator[tuple[str, dict[str, str]]]:
    for point in document["Mounts"]:
        if point["Type"] == "volume" and (
            options := volumes.inspect(store, point["Name"]).get("Options")
        ):
            yield point["Name"], options


def bind_subpaths(container: Container) -> None:
    """Bind each --mount volume-subpath to a place of the container's own.

    What a volume holds was written by containers: the path is resolved as if the volume were "/",
    and mounted by the descriptor that was got, so that no link in it leads to the host's files.
    Raises SourceNotFound where the volume has no such path.
    """
    for number, point in enumerate(container.document["Mounts"]):
        if not point.get("Subpath"):
            continue
        place = f"{container.paths.mounts}/{number}"
        try:
            content = open_in_root(point["Source"], point["Subpath"])
        except KernelError as error:
            raise SourceNotFound(
                f"cannot access path {point['Subpath']} of volume {point['Name']}: "
                f"{os.strerror(error.errno).lower()}"
            ) from None
        try:
            source = f"/proc/self/fd/{content}"
            os.makedirs(container.paths.mounts, mode=0o700, exist_ok=True)
            make_mount_point(container.paths.mounts, f"/{number}", like=source)
            bind_mount(source, container.paths.mounts, f"/{number}", recursive=True)
        finally:
            os.close(content)
        point["SubpathAt"] = place


def populate_volumes(store: Store, document: dict[str, Any], rootfs: str) -> None:
    """Let an empty volume take over what the image has at its mount point, before the first start.

    Only then: a volume that the container has emptied, or given another owner, stays so.
    """
    if document["State"]["StartedAt"] != NEVER:
        return
    for point in document["Mounts"]:
        if point["Type"] != "volume" or point.get("NoCopy") or point.get("Subpath"):
            continue
        if "nocopy" in (point["Mode"] or "").split(","):
            continue
        try:
            content = open_in_root(rootfs, in_container(point["Destination"]))
        except KernelError:
            continue  # the image has nothing there
        try:
            volumes.populate(store, point["Name"], f"/proc/self/fd/{content}")
        finally:
            os.close(content)


def runtime_mounts(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The bundle's entries for Mounts and --tmpfs, outer mount points before inner ones."""
    entries = []
    for point in document["Mounts"]:
        target = in_container(point["Destination"])
        access = "rw" if point["RW"] else "ro"
        if point["Type"] == "tmpfs":
            size = [f"size={point['Size']}"] if point.get("Size") else []
            options = ["nosuid", "nodev", "noexec", access, f"mode={point['Permissions']:o}", *size]
            entries.append(_entry(target, "tmpfs", "tmpfs", options))
        else:
            bind = "bind" if point.get("NonRecursive") else "rbind"
            if not (point["RW"] or point.get("ReadOnlyNonRecursive")):
                access = "rro"  # also what is mounted below it
            options = [bind, access, point["Propagation"] or "rprivate"]
            source = point.get("SubpathAt") or point["Source"]
            entries.append(_entry(target, "bind", source, options))
    for target, text in (document["HostConfig"].get("Tmpfs") or {}).items():
        options = ["nosuid", "nodev", "noexec", *(text.split(",") if text else [])]
        entries.append(_entry(clean(target), "tmpfs", "tmpfs", options))
    return sorted(entries, key=lambda entry: entry["destination"].count("/"))


def _entry(target: str, fstype: str, source: str, options: list[str]) -> dict[str, Any]:
    return {"destination": target, "type": fstype, "source": source, "options": options}
