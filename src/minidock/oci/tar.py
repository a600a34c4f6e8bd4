"""The tar format, read block by block: what an image layer is made of.

A tar archive is a row of 512-byte blocks. Each file has one header block, then its content, padded
to whole blocks; two blocks of zeros end it. What did not fit the header of 1979 was added in
blocks before it, whose "files" say more about the next one:

    x   PAX: lines "LENGTH KEY=VALUE\\n"   long names, large numbers, xattrs, sparse maps
    g   PAX for all that follows           git's commit id; passed over here, as Docker does
    L K GNU: a long name, a long link      what old versions of GNU tar write
    S   GNU: a sparse file                 its map is in the header itself

This is our own reader, and not Python's tarfile, for three reasons: each block must be seen as it
came (`record`), since a layer is later made again bit by bit (engine/tar_split.py); tarfile takes a
damaged header for the end of the archive, and here that is an error; and no length that an archive
claims may be believed before its bytes have come.

What it refuses, all as ArchiveError: wrong checksums, negative or absurd numbers, NUL in names,
sparse maps that overlap or leave the file, an archive that ends within a file.

Sources: tar(5) of libarchive; POSIX pax "ustar Interchange Format" and "pax Extended Header";
GNU tar manual "Storing Sparse Files"; Go's archive/tar, by which Docker reads.
"""

from __future__ import annotations

import struct

from minidock.errors import ArchiveError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Protocol

    class Readable(Protocol):
        """What a tar archive is read from: `read(n)` gives n bytes, fewer only at the end."""

        def read(self, size: int, /) -> bytes: ...


BLOCK = 512
_ZEROS = bytes(BLOCK)
_HEADER = struct.Struct("100s8s8s8s12s12s8s1s100s6s2s32s32s8s8s155s12x")
_EXTENSION_MAX = 1 << 20  # bytes of one PAX or long-name block; Go's limit too
_SPARSE_SEGMENTS_MAX = 1 << 20
_ID_MAX = 0xFFFFFFFE  # chown(2) takes 0xffffffff for "leave it as it is"
_SIZE_MAX = (1 << 63) - 1

REGULAR, HARD_LINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO = b"0123456"
CONTIGUOUS = ord("7")
_OLD_REGULAR = 0
_WITHOUT_CONTENT = frozenset((HARD_LINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO))
_SPARSE, _LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL = b"SLKxg"
_XATTR_KEY = b"SCHILY.xattr."


class Entry:
    """One file of an archive, as its header and the extensions before it describe it.

    kind: one of REGULAR, HARD_LINK and so on; other values are what the archive said.
    payload_bytes: how much content follows in the archive; size_bytes: of the file, with its holes.
    segments: (offset, length) of each run of data in a sparse file; None for all others.
    xattrs: name -> value, both bytes.
    """

    __slots__ = (
        "device_major", "device_minor", "gid", "kind", "link", "mode", "mtime_ns", "name",
        "payload_bytes", "segments", "size_bytes", "uid", "xattrs",
    )  # fmt: skip

    name: bytes
    link: bytes
    kind: int
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    payload_bytes: int
    size_bytes: int
    device_major: int
    device_minor: int
    segments: list[tuple[int, int]] | None
    xattrs: dict[bytes, bytes]

    def shown(self) -> str:
        """The name as an error may print it: one line, not too long."""
        return shown(self.name)


def shown(name: bytes) -> str:
    """A name out of an archive as an error may print it: quoted, one line, not too long."""
    text = repr(name.decode("utf-8", "backslashreplace"))
    return text if len(text) <= 120 else text[:80] + "…" + text[-20:]


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
            fields = _HEADER.unpack(block)
            kind = fields[7][0]
            if kind in (_PAX, _PAX_GLOBAL, _LONG_NAME, _LONG_LINK):
                extension = self._read_extension(parse_number(fields[4], "size"))
                if kind == _PAX:
                    pax, sparse_pairs = parse_pax(extension)
                elif kind == _LONG_NAME:
                    long_name = extension.partition(b"\0")[0]
                elif kind == _LONG_LINK:
                    long_link = extension.partition(b"\0")[0]
                continue
            entry = _basic_entry(fields, kind)
            if long_name is not None:
                entry.name = long_name
            if long_link is not None:
                entry.link = long_link
            if pax:
                _apply_pax(entry, pax)
            if entry.kind == _OLD_REGULAR:
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
        if not _checksum_matches(block):
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
        if entry.kind in _WITHOUT_CONTENT:
            entry.payload_bytes = entry.size_bytes = 0
        self._content_left = entry.payload_bytes
        self._padding = -entry.payload_bytes % BLOCK
        if entry.kind == _SPARSE:
            entry.kind = REGULAR
            entry.segments = self._old_gnu_map(block)
            entry.size_bytes = parse_number(block[483:495], "size of a sparse file")
        elif pax and entry.kind == REGULAR:
            self._pax_sparse(entry, pax, pairs)
        if entry.segments is not None:
            _check_segments(entry)

    def _pax_sparse(self, entry: Entry, pax: dict[bytes, bytes], pairs: list[bytes]) -> None:
        """The three ways in which GNU tar wrote sparse maps into PAX headers."""
        size = pax.get(b"GNU.sparse.realsize") or pax.get(b"GNU.sparse.size")
        if pax.get(b"GNU.sparse.major") == b"1" and pax.get(b"GNU.sparse.minor") == b"0":
            entry.segments = self._map_before_content()
            entry.payload_bytes = self._content_left
        elif b"GNU.sparse.map" in pax:
            entry.segments = _pairs(pax[b"GNU.sparse.map"].split(b","))
        elif pairs or b"GNU.sparse.numblocks" in pax:
            entry.segments = _pairs(pairs)
        else:
            return
        if size is None:
            raise ArchiveError(f"the sparse file {entry.shown()} has no size")
        entry.name = pax.get(b"GNU.sparse.name") or entry.name
        entry.size_bytes = _decimal(size, "size of a sparse file")

    def _old_gnu_map(self, block: bytes) -> list[tuple[int, int]]:
        """The map in the header block: four pairs, then 21 in each block that goes on with it."""
        pairs = [block[at : at + 12] for at in range(386, 482, 12)]
        goes_on = block[482]
        while goes_on:
            more = self._read(BLOCK)
            pairs += [more[at : at + 12] for at in range(0, 504, 12)]
            goes_on = more[504]
            if len(pairs) > 2 * _SPARSE_SEGMENTS_MAX:
                raise ArchiveError("a sparse file in the tar archive has too many pieces")
        numbers = [parse_number(field, "sparse map") for field in pairs if field.strip(b"\0 ")]
        return list(zip(numbers[::2], numbers[1::2], strict=False))

    def _map_before_content(self) -> list[tuple[int, int]]:
        """PAX format 1.0: decimal lines in front of the content, padded to whole blocks."""
        lines: list[bytes] = []
        rest = b""
        wanted = 1
        while len(lines) < wanted:
            if self._content_left < BLOCK:
                raise ArchiveError("the map of a sparse file in the tar archive is truncated")
            self._content_left -= BLOCK
            *complete, rest = (rest + self._read(BLOCK)).split(b"\n")
            lines += complete
            if lines:
                wanted = 1 + 2 * _decimal(lines[0], "sparse map")
                if wanted > 2 * _SPARSE_SEGMENTS_MAX:
                    raise ArchiveError("a sparse file in the tar archive has too many pieces")
            elif len(rest) > BLOCK:
                raise ArchiveError("the map of a sparse file in the tar archive is damaged")
        return _pairs(lines[1:wanted])


def parse_number(field: bytes, what: str) -> int:
    """A number of a tar header: octal text, or binary where its first bit is set.

    what: what it counts, for the error. Raises ArchiveError for one that is negative or absurd.
    """
    value = _parse_signed(field, what)
    if not 0 <= value <= _SIZE_MAX:
        raise ArchiveError(f"a tar header has an impossible {what}: {value}")
    return value


def _parse_signed(field: bytes, what: str) -> int:
    if field[0] & 0x80:  # base 256, two's complement without its top bit (GNU)
        bits = len(field) * 8 - 1
        value = int.from_bytes(field, "big") & ((1 << bits) - 1)
        return value - (1 << bits) if value >> (bits - 1) else value
    text = field.strip(b" \0").partition(b"\0")[0]
    if not text:
        return 0
    if not text.isdigit() or b"8" in text or b"9" in text:
        raise ArchiveError(f"a tar header is damaged: its {what} is {shown(field)}")
    return int(text, 8)


def parse_pax(extension: bytes) -> tuple[dict[bytes, bytes], list[bytes]]:
    """The records of a PAX header, and apart from them the numbers of a sparse map 0.0."""
    records: dict[bytes, bytes] = {}
    sparse_pairs: list[bytes] = []
    at = 0
    while at < len(extension):
        length_end = extension.find(b" ", at, at + 20)
        digits = extension[at:length_end]
        end = at + int(digits) if length_end > at and digits.isdigit() else 0
        record = extension[length_end + 1 : end - 1]
        key, equals, value = record.partition(b"=")
        if not (end > length_end and extension[end - 1 : end] == b"\n" and key and equals):
            raise ArchiveError("a PAX header of the tar archive is damaged")
        if key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes"):
            sparse_pairs.append(value)
        else:
            records[key] = value
        at = end
    return records, sparse_pairs


def _checksum_matches(block: bytes) -> bool:
    """The header's bytes summed up, its checksum field taken as blanks."""
    try:
        claimed = _parse_signed(block[148:156], "checksum")
    except ArchiveError:
        return False
    counted = block[:148] + b"        " + block[156:]
    total = sum(counted)
    return claimed in (total, total - 256 * sum(byte > 127 for byte in counted))


def _basic_entry(fields: tuple[bytes, ...], kind: int) -> Entry:
    """An entry from its header block alone."""
    entry = Entry()
    name = fields[0].partition(b"\0")[0]
    if fields[9] == b"ustar\0":  # not "ustar ": there GNU keeps other things in this field
        prefix = fields[15].partition(b"\0")[0]
        name = prefix + b"/" + name if prefix else name
    entry.name = name
    entry.link = fields[8].partition(b"\0")[0]
    entry.kind = REGULAR if kind == CONTIGUOUS else kind
    entry.mode = parse_number(fields[1], "mode") & 0o7777
    entry.uid = _checked_id(parse_number(fields[2], "uid"))
    entry.gid = _checked_id(parse_number(fields[3], "gid"))
    entry.payload_bytes = entry.size_bytes = parse_number(fields[4], "size")
    entry.mtime_ns = _parse_signed(fields[5], "time") * 1_000_000_000
    entry.device_major = entry.device_minor = 0
    if kind in (CHARACTER, BLOCK_DEVICE):
        entry.device_major = parse_number(fields[13], "device number")
        entry.device_minor = parse_number(fields[14], "device number")
        if entry.device_major > 0xFFF or entry.device_minor > 0xFFFFF:
            raise ArchiveError(f"the device {entry.shown()} has an impossible number")
    entry.segments = None
    entry.xattrs = {}
    return entry


def _apply_pax(entry: Entry, pax: dict[bytes, bytes]) -> None:
    """What PAX records say instead of the header; an empty one says nothing."""
    entry.name = pax.get(b"path") or entry.name
    entry.link = pax.get(b"linkpath") or entry.link
    if size := pax.get(b"size"):
        entry.payload_bytes = entry.size_bytes = _decimal(size, "size")
    if uid := pax.get(b"uid"):
        entry.uid = _checked_id(_decimal(uid, "uid"))
    if gid := pax.get(b"gid"):
        entry.gid = _checked_id(_decimal(gid, "gid"))
    if mtime := pax.get(b"mtime"):
        entry.mtime_ns = _nanoseconds(mtime)
    for key, value in pax.items():
        if key.startswith(_XATTR_KEY):
            entry.xattrs[key[len(_XATTR_KEY) :]] = value


def _checked_id(number: int) -> int:
    if number > _ID_MAX:
        raise ArchiveError(f"the tar archive has a file of the impossible user or group {number}")
    return number


def _decimal(text: bytes, what: str) -> int:
    if not text.isdigit() or len(text) > 19 or int(text) > _SIZE_MAX:
        raise ArchiveError(f"the tar archive has an impossible {what}: {shown(text)}")
    return int(text)


def _nanoseconds(text: bytes) -> int:
    """A PAX time such as "1732450000.25" in nanoseconds, without a float's rounding."""
    whole, _, fraction = text.partition(b".")
    digits = whole.removeprefix(b"-")
    if not digits.isdigit() or len(digits) > 19 or (fraction and not fraction.isdigit()):
        raise ArchiveError(f"the tar archive has an impossible time: {shown(text)}")
    nanoseconds = int(digits) * 1_000_000_000 + int(fraction[:9].ljust(9, b"0"))
    return -nanoseconds if text.startswith(b"-") else nanoseconds


def _pairs(numbers: list[bytes]) -> list[tuple[int, int]]:
    """(offset, length) pairs of a sparse map that is written in decimal."""
    if len(numbers) > 2 * _SPARSE_SEGMENTS_MAX:
        raise ArchiveError("a sparse file in the tar archive has too many pieces")
    values = [_decimal(number, "sparse map") for number in numbers if number]
    if len(values) % 2:
        raise ArchiveError("the map of a sparse file in the tar archive is damaged")
    return list(zip(values[::2], values[1::2], strict=True))


def _check_segments(entry: Entry) -> None:
    """A sparse map must be in order, within the file, and account for all of its content."""
    end = 0
    for offset, length in entry.segments or ():
        if offset < end or offset + length > entry.size_bytes:
            raise ArchiveError(f"the map of the sparse file {entry.shown()} is damaged")
        end = offset + length
    total = sum(length for _, length in entry.segments or ())
    if total != entry.payload_bytes:
        raise ArchiveError(
            f"the map of the sparse file {entry.shown()} has {total} bytes of data, "
            f"and {entry.payload_bytes} follow"
        )
