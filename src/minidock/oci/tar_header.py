"""A tar header: its 512 bytes, the PAX records before it, and the file that they describe.

    offset   0 name 100 · mode 8 · uid 8 · gid 8 · size 12 · mtime 12 · checksum 8 · kind 1
           157 link 100 · magic 6 · version 2 · user 32 · group 32 · device 8+8 · prefix 155

Numbers are octal text, or binary if they are too large for that (GNU). PAX records are lines
"LENGTH KEY=VALUE\\n" whose values replace those of the header. Each value is checked; one that a
file cannot have is refused with an ArchiveError.

Sources: tar(5) of libarchive; POSIX pax "ustar Interchange Format", "pax Extended Header".
"""

from __future__ import annotations

import stat
import struct

from minidock.errors import ArchiveError

BLOCK = 512
REGULAR, HARD_LINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO = b"0123456"
SPARSE, LONG_NAME, LONG_LINK, PAX, PAX_GLOBAL = b"SLKxg"
OLD_REGULAR = 0
_CONTIGUOUS = ord("7")
KIND_OF = {  # by the file type bits of the mode; an archive has no sockets
    stat.S_IFREG: REGULAR,
    stat.S_IFLNK: SYMLINK,
    stat.S_IFCHR: CHARACTER,
    stat.S_IFBLK: BLOCK_DEVICE,
    stat.S_IFDIR: DIRECTORY,
    stat.S_IFIFO: FIFO,
}
WITHOUT_CONTENT = frozenset((HARD_LINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO))
HEADER = struct.Struct("100s8s8s8s12s12s8s1s100s6s2s32s32s8s8s155s12x")
_ID_MAX = 0xFFFFFFFE  # to chown(2), 0xffffffff means "no change"
_SIZE_MAX = (1 << 63) - 1
_XATTR_KEY = b"SCHILY.xattr."


class Entry:
    """A file of an archive, as described by its header and the extensions before it.

    kind: one of REGULAR, HARD_LINK and so on; other values are the archive's own.
    payload_bytes: size of the content in the archive; size_bytes: of the file, with its holes.
    segments: (offset, length) of each data segment of a sparse file; None for other files.
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
        """Return the name for error messages: one line, truncated."""
        return shown(self.name)


def shown(name: bytes) -> str:
    """Format a name of an archive for error messages: quoted, one line, truncated."""
    text = repr(name.decode("utf-8", "backslashreplace"))
    return text if len(text) <= 120 else text[:80] + "…" + text[-20:]


def basic_entry(fields: tuple[bytes, ...], kind: int) -> Entry:
    """Create an entry from its header block alone."""
    entry = Entry()
    name = fields[0].partition(b"\0")[0]
    if fields[9] == b"ustar\0":  # not "ustar ": GNU uses this field for other data
        prefix = fields[15].partition(b"\0")[0]
        name = prefix + b"/" + name if prefix else name
    entry.name = name
    entry.link = fields[8].partition(b"\0")[0]
    entry.kind = REGULAR if kind == _CONTIGUOUS else kind
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


def apply_pax(entry: Entry, pax: dict[bytes, bytes]) -> None:
    """Apply PAX records, which override the header; an empty value is ignored."""
    entry.name = pax.get(b"path") or entry.name
    entry.link = pax.get(b"linkpath") or entry.link
    if size := pax.get(b"size"):
        entry.payload_bytes = entry.size_bytes = decimal(size, "size")
    if uid := pax.get(b"uid"):
        entry.uid = _checked_id(decimal(uid, "uid"))
    if gid := pax.get(b"gid"):
        entry.gid = _checked_id(decimal(gid, "gid"))
    if mtime := pax.get(b"mtime"):
        entry.mtime_ns = _nanoseconds(mtime)
    for key, value in pax.items():
        if key.startswith(_XATTR_KEY):
            entry.xattrs[key[len(_XATTR_KEY) :]] = value


def _checked_id(number: int) -> int:
    if number > _ID_MAX:
        raise ArchiveError(f"the tar archive has a file of the impossible user or group {number}")
    return number


def decimal(text: bytes, what: str) -> int:
    if not text.isdigit() or len(text) > 19 or int(text) > _SIZE_MAX:
        raise ArchiveError(f"the tar archive has an impossible {what}: {shown(text)}")
    return int(text)


def _nanoseconds(text: bytes) -> int:
    """Convert a PAX time such as "1732450000.25" to nanoseconds, without rounding errors."""
    whole, _, fraction = text.partition(b".")
    digits = whole.removeprefix(b"-")
    if not digits.isdigit() or len(digits) > 19 or (fraction and not fraction.isdigit()):
        raise ArchiveError(f"the tar archive has an impossible time: {shown(text)}")
    nanoseconds = int(digits) * 1_000_000_000 + int(fraction[:9].ljust(9, b"0"))
    return -nanoseconds if text.startswith(b"-") else nanoseconds


def checksum_matches(block: bytes) -> bool:
    """Compare the checksum: the sum of the header's bytes, with blanks in the checksum field."""
    try:
        claimed = _parse_signed(block[148:156], "checksum")
    except ArchiveError:
        return False
    counted = block[:148] + b"        " + block[156:]
    total = sum(counted)
    if claimed == total:
        return True
    return claimed == total - 256 * sum(
        byte > 127 for byte in counted
    )  # of signed bytes, in old archives


def parse_number(field: bytes, what: str) -> int:
    """Parse a number of a tar header: octal text, or binary if its first bit is set.

    what: its meaning, for the error. Raises ArchiveError for a negative or absurd number.
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
    """Parse the records of a PAX header, and separately the numbers of a sparse map 0.0."""
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
