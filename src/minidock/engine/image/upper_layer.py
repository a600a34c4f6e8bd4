"""Make an upperdir a layer of the store, in one walk.

    each entry ──▶ its header ──────────────▶ digest, tar-split.z     (upper_tar.py)
               └─▶ its file, in diff/ ──────▶ content: digest         (upper_files.py)

The layer's archive is hashed but not written; the store gets what unpacking it would produce.
`save` rebuilds the archive from that (tar_split.py).
"""

from __future__ import annotations

import os
import stat

from minidock.engine.image import tar_split, upper_tar
from minidock.engine.image.hashing import StreamHash
from minidock.engine.image.upper_walk import changed_meanwhile
from minidock.oci import tar_writer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.engine.image.archive_file import Progress
    from minidock.engine.image.upper import Upper
    from minidock.engine.image.upper_files import LayerFiles
    from minidock.engine.image.upper_walk import Entry

_CHUNK = 1 << 20


class UpperLayer:
    """Hashes the archive of an upperdir and passes its files to `files`.

    split_fd: tar-split.z, opened for writing.
    diff_id, tar_bytes, content_bytes: after `write`, the archive's digest and length, and the sum
    of the sizes of files and links.
    """

    def __init__(
        self, upper: Upper, files: LayerFiles, split_fd: int, *, progress: Progress | None
    ) -> None:
        self._upper = upper
        self._files = files
        self._split = tar_split.TarSplitWriter(split_fd)
        self._progress = progress
        self._hash = StreamHash()
        self._first_names: dict[int, bytes] = {}  # inode -> its first name in the archive
        self.diff_id = ""
        self.content_bytes = 0

    @property
    def tar_bytes(self) -> int:
        return self._split.total_bytes

    def write(self) -> None:
        """Walk the upperdir. Raises Conflict if a file changed meanwhile."""
        try:
            for entry in self._upper.walk():
                self._add(entry)
            self._record(tar_writer.END)
            self._split.finish()
            self._files.finish()
            self.diff_id = self._hash.digest()
        finally:
            self._hash.close()

    def _add(self, entry: Entry) -> None:
        """Add one entry of any type."""
        upper_tar.check_name(entry)
        mode = entry.status.st_mode
        if entry.is_whiteout:
            self._record(upper_tar.whiteout(entry))
            self._files.other(entry, b"")
        elif stat.S_ISREG(mode):
            self._add_file(entry)
        elif stat.S_ISDIR(mode):
            self._add_directory(entry)
        elif stat.S_ISSOCK(mode):
            self._files.leave_out(entry)
        else:
            link = self._upper.read_link(entry) if stat.S_ISLNK(mode) else b""
            self.content_bytes += len(link)
            self._record(upper_tar.header(entry, link=link))
            self._files.other(entry, link)

    def _add_directory(self, entry: Entry) -> None:
        fd = self._upper.open_directory(entry.path)
        try:
            xattrs = xattrs_of(fd)
            self._record(upper_tar.header(entry, xattrs=xattrs))
            self._files.directory(entry, fd, xattrs)
        finally:
            os.close(fd)

    def _add_file(self, entry: Entry) -> None:
        first = self._first_names.get(entry.status.st_ino)
        if first is not None:
            self._record(upper_tar.hard_link(entry, first))
            self._files.hard_link(entry, first)
            return
        if entry.status.st_nlink > 1:
            self._first_names[entry.status.st_ino] = entry.path
        fd = self._upper.open_file(entry)
        kept = fd
        try:
            xattrs = xattrs_of(fd)
            self._record(upper_tar.header(entry, xattrs=xattrs))
            kept = self._files.file(entry, fd, xattrs)
            self._add_content(entry, kept)
        finally:
            os.close(fd)
            if kept != fd:
                os.close(kept)

    def _add_content(self, entry: Entry, fd: int) -> None:
        size = entry.status.st_size
        at = 0
        while at < size:
            content = os.pread(fd, min(size - at, _CHUNK), at)
            if not content:
                raise changed_meanwhile(entry.path)
            at += len(content)
            self._hash.update(content)
            if self._progress is not None:
                self._progress("Committing", self.tar_bytes + at, None)
        self.content_bytes += size
        if size:
            self._split.record_file(entry.path, [(0, size)])
            self._record(tar_writer.padding(size))

    def _record(self, blocks: bytes) -> None:
        """Add bytes of the archive other than file contents: headers, padding."""
        self._hash.update(blocks)
        self._split.record(blocks)


def xattrs_of(fd: int) -> dict[bytes, bytes]:
    """The extended attributes of a file that a copy keeps."""
    return {
        os.fsencode(name): os.getxattr(fd, name)
        for name in os.listxattr(fd)
        if name == "security.capability" or not name.startswith(("trusted.overlay.", "security."))
    }
