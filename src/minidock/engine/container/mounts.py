"""What is mounted into a container besides its rootfs: binds, volumes and tmpfs.

mount_points.py has written into the document's Mounts what to mount. Its volumes are made at
creation; at each start `runtime_mounts` turns Mounts, and --tmpfs, into the bundle's mounts.

Source: Docker Engine API v1.45 MountPoint.
"""

from __future__ import annotations

import os

from minidock.engine.container import volumes
from minidock.engine.container.validation import clean, in_container
from minidock.engine.store.timestamps import NEVER
from minidock.errors import Conflict, KernelError, NotFound, SourceNotFound
from minidock.kernel.mount import bind_mount
from minidock.kernel.node import make_mount_point
from minidock.kernel.path import open_in_root
from minidock.paths import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from minidock.engine.container.containers import Container


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
