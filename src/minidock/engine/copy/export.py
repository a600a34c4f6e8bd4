"""`export`: all that a container sees of its file system, as one tar archive.

Of a container that runs, its overlay is read where it is mounted on the host, so that what is
mounted inside (proc, volumes) is not in it, as with Docker. Of one that does not run, or whose
mounts show on the host (it has no mount namespace), the layers
and its own are laid over each other once more, for reading, by a descriptor: the kernel takes that
mount away with the process, however it ends.

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
    """The container's files as a tar archive, in chunks; the caller has reached its layer.

    Raises StoreError where its image is gone, Conflict where a file changes while it is read.
    """
    root = _open_root(container)
    try:
        with Tree(f"/proc/self/fd/{root}/.") as tree:
            yield from tree_archive(tree)
        emit_container(container, "export")
    finally:
        os.close(root)


def tree_archive(tree: Tree) -> Iterator[bytes]:
    """A tree as a tar archive, in chunks; sockets are left out, as by Docker."""
    first_names: dict[int, bytes] = {}  # inode -> the name under which its content went in
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
    """A descriptor of the container's root directory, seen from outside."""
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
    """A regular file: header, content, padding."""
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
