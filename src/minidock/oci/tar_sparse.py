"""Sparse files in tar archives: which parts of a file are data, and which are holes.

GNU tar has four formats for this map. The oldest is in the header block itself (kind "S"), the
others in PAX records (0.0, 0.1) or before the content (1.0). Each becomes a list of (offset,
length) pairs, which must be in order, within the file, and add up to the size of the content.

Source: GNU tar manual, appendix "Storing Sparse Files".
"""

from __future__ import annotations

from minidock.errors import ArchiveError
from minidock.oci.tar_header import BLOCK, Entry, decimal, parse_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Segments = list[tuple[int, int]]

_SEGMENTS_MAX = 1 << 20


def map_in_headers(block: bytes, read: Callable[[int], bytes]) -> Segments:
    """Read the old GNU map: four pairs in the header, then 21 in each continuation block."""
    pairs = [block[at : at + 12] for at in range(386, 482, 12)]
    goes_on = block[482]
    while goes_on:
        more = read(BLOCK)
        pairs += [more[at : at + 12] for at in range(0, 504, 12)]
        goes_on = more[504]
        _check_count(len(pairs))
    numbers = [parse_number(field, "sparse map") for field in pairs if field.strip(b"\0 ")]
    return list(zip(numbers[::2], numbers[1::2], strict=False))


def map_in_pax(pax: dict[bytes, bytes], pairs: list[bytes]) -> Segments | None:
    """Parse the map of PAX formats 0.0 (as `pairs`) and 0.1; None if there is none."""
    if b"GNU.sparse.map" in pax:
        return _segments(pax[b"GNU.sparse.map"].split(b","))
    if pairs or b"GNU.sparse.numblocks" in pax:
        return _segments(pairs)
    return None


def is_map_in_content(pax: dict[bytes, bytes]) -> bool:
    """Whether the map is before the content: PAX format 1.0."""
    return pax.get(b"GNU.sparse.major") == b"1" and pax.get(b"GNU.sparse.minor") == b"0"


def map_in_content(read: Callable[[int], bytes], content_bytes: int) -> tuple[Segments, int]:
    """Read the map of PAX format 1.0, decimal lines in whole blocks; returns also its size."""
    lines: list[bytes] = []
    rest = b""
    wanted, taken = 1, 0
    while len(lines) < wanted:
        taken += BLOCK
        if taken > content_bytes:
            raise ArchiveError("the map of a sparse file in the tar archive is truncated")
        *complete, rest = (rest + read(BLOCK)).split(b"\n")
        lines += complete
        if lines:
            wanted = 1 + 2 * decimal(lines[0], "sparse map")
            _check_count(wanted)
        elif len(rest) > BLOCK:
            raise ArchiveError("the map of a sparse file in the tar archive is damaged")
    return _segments(lines[1:wanted]), taken


def apply_map(entry: Entry, segments: Segments, size_bytes: int) -> None:
    """Make an entry a sparse file. Raises ArchiveError for an invalid map."""
    entry.segments = segments
    entry.size_bytes = size_bytes
    end = 0
    for offset, length in segments:
        if offset < end or offset + length > size_bytes:
            raise ArchiveError(f"the map of the sparse file {entry.shown()} is damaged")
        end = offset + length
    total = sum(length for _, length in segments)
    if total != entry.payload_bytes:
        raise ArchiveError(
            f"the map of the sparse file {entry.shown()} has {total} bytes of data, "
            f"but {entry.payload_bytes} follow"
        )


def size_in_pax(entry: Entry, pax: dict[bytes, bytes]) -> int:
    """Return the size of a sparse file with its holes."""
    size = pax.get(b"GNU.sparse.realsize") or pax.get(b"GNU.sparse.size")
    if size is None:
        raise ArchiveError(f"the sparse file {entry.shown()} has no size")
    return decimal(size, "size of a sparse file")


def _segments(numbers: list[bytes]) -> Segments:
    _check_count(len(numbers))
    values = [decimal(number, "sparse map") for number in numbers if number]
    if len(values) % 2:
        raise ArchiveError("the map of a sparse file in the tar archive is damaged")
    return list(zip(values[::2], values[1::2], strict=True))


def _check_count(numbers: int) -> None:
    if numbers > 2 * _SEGMENTS_MAX:
        raise ArchiveError("a sparse file in the tar archive has too many segments")
