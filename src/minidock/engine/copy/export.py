"""`export`: a container's file system as one tar archive.

The overlay of a running container is read from its mount on the host, so mounts in the container
(proc, volumes) are excluded, as in Docker. For a stopped one, or one whose mounts are visible on
the host (it has no mount namespace), the layers are mounted once more, read-only and detached: the
mount ends with this process.

Source: moby daemon/export.go; pkg/archive (TarWithOptions) for order and headers.
"""

from __future__ import annotations

import os
import stat

from minidock.engine.container.events import emit_container
from minidock.engine.image import upper_tar
from minidock.engine.image.images import ImageStore
from minidock.engine.image.upper_layer import xattrs_of
from minidock.engine.image.upper_walk import Tree, changed_meanwhile
from minidock.engine.store.journal import recording_to
from minidock.kernel.overlay import open_overlay
from minidock.oci import tar_writer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from minidock.engine.container.containers import Container
    from minidock.engine.image.upper_walk import Entry

_CHUNK = 1 << 20


def export(container: Container) -> Iterator[bytes]:
    """Yield the container's files as a tar archive, in chunks; its own layer is accessible.

    Raises StoreError if its image was removed, Conflict if a file changes while it is read.
    """
    root = _open_root(container)
    try:
        with Tree(f"/proc/self/fd/{root}/.") as tree:
            yield from tree_archive(tree)
        emit_container(container, "export")
    finally:
        os.close(root)


def tree_archive(tree: Tree) -> Iterator[bytes]:
    """Yield a tree as a tar archive, in chunks, without sockets, as in Docker."""
    first_names: dict[int, bytes] = {}  # inode -> the name of the entry with its content
    for entry in tree.walk():
        status = entry.status
        if stat.S_ISREG(status.st_mode) and status.st_ino in first_names:
            yield upper_tar.hard_link(entry, first_names[status.st_ino])
        elif stat.S_ISREG(status.st_mode):
            if status.st_nlink > 1:
                first_names[status.st_ino] = entry.path
            yield from _file(tree, entry)
        elif stat.S_ISDIR(status.st_mode):
            fd = tree.open_directory(entry.path)
            try:
                yield upper_tar.header(entry, xattrs=xattrs_of(fd))
            finally:
                os.close(fd)
        elif not stat.S_ISSOCK(status.st_mode):
            link = tree.read_link(entry) if stat.S_ISLNK(status.st_mode) else b""
            yield upper_tar.header(entry, link=link)
    yield tar_writer.END


def _open_root(container: Container) -> int:
    """Open the container's root directory from the host."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    merged = container.paths.merged
    if container.running and os.path.ismount(merged) and not os.path.ismount(f"{merged}/proc"):
        return os.open(merged, flags)
    image = ImageStore(container.store).resolve(container.document["Image"])
    layers = list(reversed(image.layer_directories()))
    if not layers:
        return os.open(container.paths.upper, flags)
    with recording_to(container.paths):
        return open_overlay([container.paths.upper, *layers], "", "")


def _file(tree: Tree, entry: Entry) -> Iterator[bytes]:
    """Yield a regular file: header, content, padding."""
    fd = tree.open_file(entry)
    try:
        yield upper_tar.header(entry, xattrs=xattrs_of(fd))
        left = entry.status.st_size
        while left:
            content = os.read(fd, min(left, _CHUNK))
            if not content:
                raise changed_meanwhile(entry.path)
            left -= len(content)
            yield content
    finally:
        os.close(fd)
    yield tar_writer.padding(entry.status.st_size)
