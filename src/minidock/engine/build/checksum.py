"""Checksums of files to be copied, a part of the step's cache key.

A checksum covers names, file types, modes, owners, link targets, extended attributes and contents.
It omits times, so that a fresh clone of a repository still hits the cache.

Source: docs.docker.com/build/cache/invalidation.
"""

from __future__ import annotations

import os
import stat

from minidock.engine.build.source_tree import Entry, Tree
from minidock.oci.digest import small_hash

TYPE_CHECKING = False
if TYPE_CHECKING:
    import hashlib

_CHUNK = 1 << 18
_LARGE_BYTES = 1 << 20


def checksum(tree: Tree, path: str) -> str:
    """The checksum of a file or of a directory tree, without its own name.

    Raises FileNotFoundError, OSError for an unreadable file.
    """
    digest = small_hash()
    entry = tree.open(path)
    try:
        _add(digest, tree, entry, "")
    finally:
        entry.close()
    return digest.hexdigest()


def _add(digest: hashlib._Hash, tree: Tree, entry: Entry, name: str) -> None:
    """Add one file. name: relative to the root of the walk."""
    status = entry.status
    uid, gid = tree.owner or (status.st_uid, status.st_gid)
    mode = status.st_mode
    device = status.st_rdev if stat.S_ISCHR(mode) or stat.S_ISBLK(mode) else 0
    link = entry.read_link() if stat.S_ISLNK(mode) else b""
    size = status.st_size if stat.S_ISREG(mode) else 0
    attributes = (
        [] if tree.owner else sorted(entry.xattrs().items())
    )  # COPY drops those of a context
    fields = (name, oct(mode), uid, gid, device, size, link, attributes)
    digest.update(repr(fields).encode("utf-8", "surrogateescape"))
    if stat.S_ISREG(mode) and size < _LARGE_BYTES:
        _add_content(digest, entry)
    elif stat.S_ISREG(mode):
        import hashlib  # OpenSSL pays off for large files only

        of_content = hashlib.sha256()
        _add_content(of_content, entry)
        digest.update(of_content.digest())
    elif entry.is_directory:
        for child in tree.children(entry):
            base = os.path.basename(child.path)
            _add(digest, tree, child, f"{name}/{base}" if name else base)


def _add_content(digest: hashlib._Hash, entry: Entry) -> None:
    fd = entry.open_content()
    try:
        while chunk := os.read(fd, _CHUNK):
            digest.update(chunk)
    finally:
        os.close(fd)
