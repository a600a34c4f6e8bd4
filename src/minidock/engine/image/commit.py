"""`commit`: a container's own layer becomes the top layer of a new image.

The upperdir is written as a layer archive (whiteouts as ".wh." files again, opaque directories with
".wh..wh..opq"), and that archive is unpacked into the store as any other layer: one way in, whose
digests are right by construction.

What a layer cannot hold: sockets are left out, as by Docker. A file that is really called ".wh.x"
is refused, since every reader would take it for a whiteout (Docker makes an image of it, which it
cannot save). Of extended attributes all go along but overlayfs's own and the labels of the host's
security modules.

Sources: moby daemon/commit.go and image/image.go (NewChildImage); OCI image-spec layer.md.
"""

from __future__ import annotations

import os
import stat

from minidock.engine.clock import timestamp
from minidock.engine.image.changes import changes as changes
from minidock.engine.image.config_changes import apply_changes
from minidock.engine.image.images import Image, ImageStore, NewImage
from minidock.engine.image.layers import unpack_layer
from minidock.engine.image.unpack import OPAQUE_WHITEOUT, WHITEOUT
from minidock.engine.image.upper import Upper, UpperEntry, changed_meanwhile
from minidock.engine.store import Staging
from minidock.errors import Conflict
from minidock.oci import image_config, reference, tar_writer
from minidock.oci import tar_header as tar
from minidock.oci.digest import chain_ids

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from minidock.engine.image.archive_file import Progress
    from minidock.paths import Store

_CHUNK = 1 << 18
_EMPTY_LAYER = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"
_KINDS = {
    stat.S_IFDIR: tar.DIRECTORY,
    stat.S_IFREG: tar.REGULAR,
    stat.S_IFLNK: tar.SYMLINK,
    stat.S_IFCHR: tar.CHARACTER,
    stat.S_IFBLK: tar.BLOCK_DEVICE,
    stat.S_IFIFO: tar.FIFO,
}


def commit(
    store: Store,
    document: dict[str, Any],
    ref: str = "",
    *,
    author: str = "",
    message: str = "",
    changes: Iterable[str] = (),
    progress: Progress | None = None,
) -> Image:
    """Make an image out of a container's image, its changes to files and its configuration.

    document: the container's, as `docker inspect` shows it; the caller has paused it if it runs.
    ref: the image's name, "" for none. changes: lines of a Dockerfile for its config.
    Raises UsageError for a name or change that is none, Conflict where a file changed meanwhile.
    """
    from minidock.jsontext import dumps

    names = [reference.parse_tagged(ref).familiar] if ref else []
    run_config = _merged(document["Config"], changes)
    parent = ImageStore(store).resolve(document["Image"])
    upper = store.container(document["Id"]).upper
    lowers = parent.layer_directories()
    with Staging(store, "commit") as staging, Upper(upper, lowers) as own:
        layer = unpack_layer(_counted(upper_archive(own), progress), f"{staging.path}/0")
        created = timestamp()
        is_empty = layer.diff_id == _EMPTY_LAYER
        layers = image_config.diff_ids(parent.config) + ([] if is_empty else [layer.diff_id])
        entry = {
            "created": created,
            "created_by": " ".join(document["Config"].get("Cmd") or []),
            "author": author,
            "comment": message,
            "empty_layer": is_empty,
        }
        config = {
            "architecture": parent.config.get("architecture") or image_config.host_architecture(),
            "author": author,
            "config": run_config,
            "container": document["Id"],
            "created": created,
            "history": [*(parent.config.get("history") or []), _without_empty(entry)],
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": layers},
            "variant": parent.config.get("variant") or "",
        }
        image = NewImage(dumps(_without_empty(config)).encode(), chain_ids(layers), names)
        image.parent = parent.id
        ImageStore(store).add_all([image], {} if is_empty else {image.chain_ids[-1]: layer})
    return ImageStore(store).resolve(image.id)


def upper_archive(upper: Upper) -> Iterator[bytes]:
    """A container's own layer as a layer archive, in chunks."""
    first_names: dict[int, bytes] = {}  # inode -> the name under which its content went in
    for entry in upper.walk():
        status = entry.status
        directory, _, base = entry.path.rpartition(b"/")
        folder = directory + b"/" if directory else b""
        if base.startswith(WHITEOUT):
            raise Conflict(
                f"the container has a file {os.fsdecode(entry.path)!r}, which an image cannot hold",
                hint="names that begin with .wh. mark deleted files in layers: rename it",
            )
        if entry.is_whiteout:
            yield tar_writer.header(
                folder + WHITEOUT + base, mode=0o600, mtime_seconds=int(status.st_mtime)
            )
        elif stat.S_ISREG(status.st_mode) and status.st_ino in first_names:
            yield _header(entry, kind=tar.HARD_LINK, link=first_names[status.st_ino])
        elif stat.S_ISREG(status.st_mode):
            if status.st_nlink > 1:
                first_names[status.st_ino] = entry.path
            yield from _file(upper, entry)
        elif not stat.S_ISSOCK(status.st_mode):
            yield from _other(upper, entry)
    yield tar_writer.END


def _file(upper: Upper, entry: UpperEntry) -> Iterator[bytes]:
    """A regular file: header, content, padding."""
    fd = upper.open_file(entry)
    try:
        yield _header(entry, xattrs=_xattrs(fd))
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


def _other(upper: Upper, entry: UpperEntry) -> Iterator[bytes]:
    """A directory, a link, a device or a FIFO."""
    if not entry.is_directory:
        link = upper.read_link(entry) if stat.S_ISLNK(entry.status.st_mode) else b""
        yield _header(entry, link=link)
        return
    fd = upper.open_directory(entry.path)
    try:
        yield _header(entry, xattrs=_xattrs(fd))
    finally:
        os.close(fd)
    if entry.opaque:
        yield tar_writer.header(entry.path + b"/" + OPAQUE_WHITEOUT, mode=0o755)


def _header(
    entry: UpperEntry,
    *,
    kind: int | None = None,
    link: bytes = b"",
    xattrs: dict[bytes, bytes] | None = None,
) -> bytes:
    status = entry.status
    kind = _KINDS[stat.S_IFMT(status.st_mode)] if kind is None else kind
    return tar_writer.header(
        entry.path,
        kind,
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        size_bytes=status.st_size if kind == tar.REGULAR else 0,
        mtime_seconds=max(0, int(status.st_mtime)),
        link=link,
        device=(os.major(status.st_rdev), os.minor(status.st_rdev)),
        xattrs=xattrs,
    )


def _xattrs(fd: int) -> dict[bytes, bytes]:
    """The extended attributes that belong to a file, wherever it goes."""
    return {
        name.encode(): os.getxattr(fd, name)
        for name in os.listxattr(fd)
        if name == "security.capability" or not name.startswith(("trusted.overlay.", "security."))
    }


def _merged(config: dict[str, Any], changes: Iterable[str]) -> dict[str, Any]:
    """The container's configuration with the changes; what these empty is kept, as in Docker."""
    base = image_config.normalised(config)
    changed = apply_changes(base, changes)
    if not changed.get("Entrypoint"):
        changed["Cmd"] = changed.get("Cmd") or base.get("Cmd")
        changed["Entrypoint"] = changed.get("Entrypoint") or base.get("Entrypoint")
    return changed


def _without_empty(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value}


def _counted(chunks: Iterator[bytes], progress: Progress | None) -> Iterator[bytes]:
    done = 0
    for chunk in chunks:
        done += len(chunk)
        if progress is not None:
            progress("Committing", done, None)
        yield chunk
