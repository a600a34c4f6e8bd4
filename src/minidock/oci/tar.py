"""The tar format, read block by block: what an image layer is made of.

A tar archive is a row of 512-byte blocks. Each file has one header block, then its content, padded
to whole blocks; two blocks of zeros end it. What did not fit the header of 1979 was added in
blocks before it, whose "files" say more about the next one:

    x   PAX: lines "LENGTH KEY=VALUE\\n"   long names, large numbers, xattrs, sparse maps
    g   PAX for all that follows           git's commit id; passed over here, as Docker does
    L K GNU: a long name, a long link      what old versions of GNU tar write
    S   GNU: a sparse file                 its map is in the header itself

This is our own reader, and not Python's tarfile, for three reasons: each block must be seen as it
came (`record`), since a layer is later made again bit by bit (engine/image/tar_split.py); tarfile
takes a damaged header for the end of the archive, and here that is an error; and no length that an
archive claims may be believed before its bytes have come.

What it refuses, all as ArchiveError: wrong checksums, negative or absurd numbers, NUL in names,
sparse maps that overlap or leave the file, an archive that ends within a file.

Sources: tar(5) of libarchive; POSIX pax "ustar Interchange Format" and "pax Extended Header";
GNU tar manual "Storing Sparse Files"; Go's archive/tar, by which Docker reads.
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
        """What a tar archive is read from: `read(n)` gives n bytes, fewer only at the end."""

        def read(self, size: int, /) -> bytes: ...


_ZEROS = bytes(BLOCK)
_EXTENSION_MAX = 1 << 20  # bytes of one PAX or long-name block; Go's limit too


class TarReader:
    """Reads an archive entry by entry: `for entry in reader`, then its content, if it is wanted.

    record: called with each run of bytes that `next_entry` and `skip_rest` read, in order. The
    content that is read by `read_content` is not recorded: who reads it knows where it went.
    skip: passes over content without reading it, where the source can do that.
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
        """The next file of the archive, or None at its end; unread content is passed over."""
        self.skip_content()
        pax: dict[bytes, bytes] = {}
        sparse_pairs: list[bytes] = []
        long_name = long_link = None
        while True:
            block = self._next_header_block()
            if block is None:
                if pax or long_name is not None or long_link is not None:
                    raise ArchiveError("the tar archive ends where a file should follow")
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
        """Up to `size` bytes of the current entry's content; b"" at its end."""
        wanted = min(size, self._content_left)
        if not wanted:
            return b""
        content = self._source.read(wanted)
        if len(content) != wanted:
            raise ArchiveError("the tar archive is truncated: it ends within a file")
        self._content_left -= wanted
        return content

    def skip_content(self) -> None:
        """Pass over what is left of the current entry's content, and its padding."""
        left = self._content_left + self._padding
        self._content_left = self._padding = 0
        if self._skip is not None:
            self._skip(left)
            return
        while left:
            left -= len(self._read(min(left, 1 << 16)))

    def skip_rest(self) -> None:
        """Read on from the end of the archive to the end of its stream: tar pads to 10 KiB."""
        while rest := self._source.read(1 << 16):
            if self._record is not None:
                self._record(rest)

    def _next_header_block(self) -> bytes | None:
        """The next header block with its checksum verified, or None at the archive's end."""
        if self.ended:
            return None
        block = self._source.read(BLOCK)
        if not block:  # no zero blocks at the end: Go's reader takes that as well
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
        """Exactly `size` bytes, recorded."""
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
        """Find out how much content follows, and where in the file it belongs."""
        if b"\0" in entry.name or b"\0" in entry.link:
            raise ArchiveError(f"the name {entry.shown()} in the tar archive holds a NUL")
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
        """The same for a file that PAX records may say is sparse."""
        segments = tar_sparse.map_in_pax(pax, pairs)
        if tar_sparse.is_map_in_content(pax):
            segments, taken = tar_sparse.map_in_content(self._read, entry.payload_bytes)
            entry.payload_bytes -= taken
            self._content_left -= taken
        if segments is not None:
            entry.name = pax.get(b"GNU.sparse.name") or entry.name
            tar_sparse.apply_map(entry, segments, tar_sparse.size_in_pax(entry, pax))
