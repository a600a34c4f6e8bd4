"""The mounts of a container besides its rootfs: bind mounts, volumes and tmpfs.

mount_points.py has determined the document's Mounts. Its volumes are created with the container; at
each start `runtime_mounts` converts Mounts and --tmpfs to the bundle's mounts.

Source: Docker Engine API v1.45 MountPoint.
"""

from __future__ import annotations

import os

from minidock.engine.container import volumes
from minidock.engine.container.validation import clean, in_container
from minidock.errors import Conflict, KernelError, NotFound, SourceNotFound
from minidock.kernel.mount import bind_mount
from minidock.kernel.node import make_mount_point
from minidock.kernel.path import open_in_root
from minidock.paths import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from minidock.document_types.container import ContainerDocument, MountPoint
    from minidock.document_types.runtime_spec import Mount
    from minidock.engine.container.containers import Container


def create_volumes(
    store: Store,
    points: list[MountPoint],
    container_id: str,
    note: Callable[[str], None],
) -> None:
    """Create the missing volumes of a container's mount points.

    note: called with each volume's name before it is created.
    """
    for point in points:
        if point["Type"] != "volume" or point["Source"]:
            continue
        name = point["Name"]  # checked when the mount point was created
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
        point.pop("AskedDriver", None)  # an existing volume is not changed
        point["Name"] = known["Name"]
        point["Source"] = known["Mountpoint"]


def make_bind_sources(document: ContainerDocument) -> None:
    """Create missing host directories of -v, as Docker does.

    Raises Conflict if that fails, or a --mount source no longer exists.
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
                f"cannot create the bind source {point['Source']}: {error.strerror}"
            ) from None


def mount_volumes(container: Container) -> None:
    """Mount the volumes that are separate file systems, until the end of the run.

    Raises MinidockError if that fails.
    """
    for name, options in _volumes_with_options(container.store, container.document):
        from minidock.engine.container.volume_mounts import mount_for_container  # seldom wanted

        mount_for_container(container.store, container.id, name, options)


def mount_volumes_privately(store: Store, document: ContainerDocument) -> None:
    """Mount them in a private mount namespace of this process."""
    for name, options in _volumes_with_options(store, document):
        from minidock.engine.container.volume_mounts import mount_volume

        mount_volume(store, name, options)


def _volumes_with_options(
    store: Store, document: ContainerDocument
) -> Iterator[tuple[str, dict[str, str]]]:
    for point in document["Mounts"]:
        if point["Type"] == "volume" and (
            options := volumes.inspect(store, point["Name"]).get("Options")
        ):
            yield point["Name"], options


def bind_subpaths(container: Container) -> None:
    """Bind mount each --mount volume-subpath to a directory of the container.

    Containers have written the volume's files: the path is resolved as if the volume were "/", and
    mounted by file descriptor, so that no link in it leads to the host's files.
    Raises SourceNotFound if the path does not exist in the volume.
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


def runtime_mounts(document: ContainerDocument) -> list[Mount]:
    """Return the bundle's mounts for Mounts and --tmpfs, outer mount points first."""
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
                access = "rro"  # including mounts below it
            options = [bind, access, point["Propagation"] or "rprivate"]
            source = point.get("SubpathAt") or point["Source"]
            entries.append(_entry(target, "bind", source, options))
    for target, text in (document["HostConfig"].get("Tmpfs") or {}).items():
        options = ["nosuid", "nodev", "noexec", *(text.split(",") if text else [])]
        entries.append(_entry(clean(target), "tmpfs", "tmpfs", options))
    return sorted(entries, key=lambda entry: entry["destination"].count("/"))


def _entry(target: str, fstype: str, source: str, options: list[str]) -> Mount:
    return {"destination": target, "type": fstype, "source": source, "options": options}
