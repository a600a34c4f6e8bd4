"""Populate an empty volume with the image's files at its mount point, as Docker does.

They are first copied beside the volume's _data: a crash leaves `copying`, which is discarded, or
`copied`, which is completed at the next start. The image's files are untrusted
(engine/store/tree_copy.py).

Source: docs.docker.com/storage/volumes, "Populate a volume using a container".
"""

from __future__ import annotations

import os

from minidock.engine.container import volumes
from minidock.engine.container.validation import in_container
from minidock.engine.store.locks import exclusive
from minidock.engine.store.timestamps import NEVER
from minidock.engine.store.tree_copy import copy_attributes, copy_tree, open_directory
from minidock.engine.store.tree_removal import remove_tree
from minidock.errors import KernelError
from minidock.kernel.disk import sync_file_system
from minidock.kernel.mountinfo import is_mount_point
from minidock.kernel.path import open_in_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.document_types.container import ContainerDocument
    from minidock.paths import Store


def populate_volumes(store: Store, document: ContainerDocument, rootfs: str) -> None:
    """Copy the image's files at a mount point to an empty volume, before the first start.

    Only then: later changes by the container, even deleting all files, stay.
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
            continue  # the image does not have this path
        try:
            populate_volume(store, point["Name"], f"/proc/self/fd/{content}")
        finally:
            os.close(content)


def populate_volume(store: Store, name: str, source: str) -> None:
    """Copy a directory of the image to an empty volume: files, owners, modes, xattrs, links.

    source: path of the directory, such as /proc/self/fd/7; any other file is ignored. Does nothing
    if the volume has files.
    """
    home, data = store.volume(name), volumes.path(store, name)
    copying, copied = f"{home}/copying", f"{home}/copied"
    with exclusive(f"{home}/.lock"):
        if not os.path.isdir(copied):
            if os.listdir(data) or not os.path.isdir(source):
                return
            if is_mount_point(data):  # rename(2) does not work across mounts
                options = volumes.inspect(store, name)["Options"] or {}
                if options.get("type") != "tmpfs":  # a tmpfs starts empty, as in Docker
                    _copy(source, data)
                return
            remove_tree(store, copying)
            os.mkdir(copying, 0o700)
            _copy(source, copying)
            sync_file_system(copying)
            os.rename(copying, copied)
        with open_directory(copied) as ready, open_directory(data) as there:
            for entry in os.listdir(ready):
                if not _has(there, entry):
                    os.rename(entry, entry, src_dir_fd=ready, dst_dir_fd=there)
            copy_attributes(ready, there)
        remove_tree(store, copied)


def _copy(source: str, target: str) -> None:
    with open_directory(source) as from_fd, open_directory(target) as to_fd:
        copy_tree(from_fd, to_fd)


def _has(directory: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
