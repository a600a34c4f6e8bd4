"""A reader of the tar format, in which image layers are stored.

A tar archive is a sequence of 512-byte blocks. Each file has one header block, then its content,
padded to whole blocks; two blocks of zeros end the archive. What does not fit the header of 1979 is
in extension entries before it, which describe the next file:

    x   PAX: lines "LENGTH KEY=VALUE\\n"   long names, large numbers, xattrs, sparse maps
    g   PAX for all following files        git's commit id; ignored, as in Docker
    L K GNU: a long name, a long link      written by old versions of GNU tar
    S   GNU: a sparse file                 its map is in the header itself

This reader replaces Python's tarfile for three reasons: each block must be available unchanged
(`record`), since a layer is later reproduced bit by bit (engine/image/tar_split.py); tarfile takes
a damaged header for the end of the archive, which must be an error; and a length in an archive must
not be trusted before its bytes have arrived.

It refuses with ArchiveError: wrong checksums, negative or absurd numbers, NUL in names, sparse maps
that overlap or exceed the file, an archive that ends within a file.

Sources: tar(5) of libarchive; POSIX pax "ustar Interchange Format" and "pax Extended Header";
GNU tar manual "Storing Sparse Files"; Go's archive/tar, which Docker uses.
"""

from __future__ import annotations

from minidock.errors import ArchiveError
from minidock.oci import tar_sparse
from minidock.oci.tar_header import (
    BLOCK,
    DIRECTORY,
    HEADER,
    LONG_LINK,
    LONG_NAME,
    OLD_REGULAR,
    PAX,
    PAX_GLOBAL,
    REGULAR,
    SPARSE,
    WITHOUT_CONTENT,
    Entry,
    apply_pax,
    basic_entry,
    checksum_matches,
    parse_number,
    parse_pax,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Protocol

    class Readable(Protocol):
        """The source of a tar archive: `read(n)` returns n bytes, fewer only at the end."""

        def read(self, size: int, /) -> bytes: ...


_ZEROS = bytes(BLOCK)
_EXTENSION_MAX = 1 << 20  # bytes of one PAX or long-name block; Go's limit too


class TarReader:
    """Reads an archive entry by entry: `for entry in reader`, then its content, if needed.

    record: called with all bytes that `next_entry` and `skip_rest` read, in order. Content from
    `read_content` is not recorded: its reader knows where it is stored.
    skip: skips content without reading it, if the source can do that.
    """

    def __init__(
        self,
        source: Readable,
        *,
        record: Callable[[bytes], object] | None = None,
        skip: Callable[[int], None] | None = None,
    ) -> None:
        self._source = source
        self._record = record
        self._skip = skip
        self._content_left = 0
        self._padding = 0
        self.ended = False

    def __iter__(self) -> Iterator[Entry]:
        while (entry := self.next_entry()) is not None:
            yield entry

    def next_entry(self) -> Entry | None:
        """Return the next file of the archive, or None at its end; unread content is skipped."""
        self.skip_content()
        pax: dict[bytes, bytes] = {}
        sparse_pairs: list[bytes] = []
        long_name = long_link = None
        while True:
            block = self._next_header_block()
            if block is None:
                if pax or long_name is not None or long_link is not None:
                    raise ArchiveError("the tar archive is truncated: it ends after a PAX header")
                return None
            fields = HEADER.unpack(block)
            kind = fields[7][0]
            if kind in (PAX, PAX_GLOBAL, LONG_NAME, LONG_LINK):
                extension = self._read_extension(parse_number(fields[4], "size"))
                if kind == PAX:
                    pax, sparse_pairs = parse_pax(extension)
                elif kind == LONG_NAME:
                    long_name = extension.partition(b"\0")[0]
                elif kind == LONG_LINK:
                    long_link = extension.partition(b"\0")[0]
                continue
            entry = basic_entry(fields, kind)
            if long_name is not None:
                entry.name = long_name
            if long_link is not None:
                entry.link = long_link
            if pax:
                apply_pax(entry, pax)
            if entry.kind == OLD_REGULAR:
                entry.kind = DIRECTORY if entry.name.endswith(b"/") else REGULAR
            self._finish(entry, block, pax, sparse_pairs)
            return entry

    def read_content(self, size: int) -> bytes:
        """Read up to `size` bytes of the current entry's content; b"" at its end."""
        wanted = min(size, self._content_left)
        if not wanted:
            return b""
        content = self._source.read(wanted)
        if len(content) != wanted:
            raise ArchiveError("the tar archive is truncated: it ends within a file")
        self._content_left -= wanted
        return content

    def skip_content(self) -> None:
        """Skip the rest of the current entry's content, and its padding."""
        left = self._content_left + self._padding
        self._content_left = self._padding = 0
        if self._skip is not None:
            self._skip(left)
            return
        while left:
            left -= len(self._read(min(left, 1 << 16)))

    def skip_rest(self) -> None:
        """Read from the end of the archive to the end of its stream: tar pads to 10 KiB."""
        while rest := self._source.read(1 << 16):
            if self._record is not None:
                self._record(rest)

    def _next_header_block(self) -> bytes | None:
        """Read the next header block and verify its checksum; None at the archive's end."""
        if self.ended:
            return None
        block = self._source.read(BLOCK)
        if not block:  # no zero blocks at the end: Go's reader accepts that as well
            self.ended = True
            return None
        if self._record is not None:
            self._record(block)
        if len(block) != BLOCK:
            raise ArchiveError("the tar archive is truncated: it ends within a header")
        if block == _ZEROS:
            self.ended = True
            return None
        if not checksum_matches(block):
            raise ArchiveError(
                "this is not a tar archive, or it is damaged: the checksum of a header is wrong"
            )
        return block

    def _read(self, size: int) -> bytes:
        """Read exactly `size` bytes, and record them."""
        content = self._source.read(size)
        if len(content) != size:
            raise ArchiveError("the tar archive is truncated: it ends within a file")
        if self._record is not None:
            self._record(content)
        return content

    def _read_extension(self, size: int) -> bytes:
        if size > _EXTENSION_MAX:
            raise ArchiveError(f"a tar header claims {size} bytes of names; the limit is 1 MiB")
        content = self._read(size)
        self._padding = -size % BLOCK
        self.skip_content()
        return content

    def _finish(
        self, entry: Entry, block: bytes, pax: dict[bytes, bytes], pairs: list[bytes]
    ) -> None:
        """Determine how much content follows, and where in the file it belongs."""
        if b"\0" in entry.name or b"\0" in entry.link:
            raise ArchiveError(f"the name {entry.shown()} in the tar archive contains a NUL")
        if entry.kind in WITHOUT_CONTENT:
            entry.payload_bytes = entry.size_bytes = 0
        self._content_left = entry.payload_bytes
        self._padding = -entry.payload_bytes % BLOCK
        if entry.kind == SPARSE:
            entry.kind = REGULAR
            size_bytes = parse_number(block[483:495], "size of a sparse file")
            tar_sparse.apply_map(entry, tar_sparse.map_in_headers(block, self._read), size_bytes)
        elif pax and entry.kind == REGULAR:
            self._finish_sparse(entry, pax, pairs)

    def _finish_sparse(self, entry: Entry, pax: dict[bytes, bytes], pairs: list[bytes]) -> None:
        """Do this for a file that is sparse according to its PAX records."""
        segments = tar_sparse.map_in_pax(pax, pairs)
        if tar_sparse.is_map_in_content(pax):
            segments, taken = tar_sparse.map_in_content(self._read, entry.payload_bytes)
            entry.payload_bytes -= taken
            self._content_left -= taken
        if segments is not None:
            entry.name = pax.get(b"GNU.sparse.name") or entry.name
            tar_sparse.apply_map(entry, segments, tar_sparse.size_in_pax(entry, pax))
