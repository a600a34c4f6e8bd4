"""gzip as registries get it: readable by all, the same for equal bytes, read in little pieces."""

from __future__ import annotations

import gzip
import io
import os
import random
import threading
from collections.abc import Iterator

import pytest

from minidock.engine.image.compression import CHUNK, gzip_chunks, uncompressed_chunks
from minidock.engine.image.hashing import StreamHash
from minidock.errors import ArchiveError

NOISE = random.Random(4).randbytes(700_000)
CONTENTS = {
    "nothing": b"",
    "a byte": b"x",
    "one block": bytes(1 << 20),
    "a block and a byte": bytes(1 << 20) + b"x",
    "several": (NOISE + b"text " * 50_000) * 3,
}


def cut(content: bytes, size: int) -> Iterator[bytes]:
    return (content[at : at + size] for at in range(0, len(content), size))


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_what_is_packed_unpacks_anywhere(content: bytes) -> None:
    packed = b"".join(gzip_chunks(cut(content, 100_000)))
    assert gzip.decompress(packed) == content
    chunks = list(uncompressed_chunks(io.BytesIO(packed), what="it"))
    assert b"".join(chunks) == content
    assert all(len(chunk) <= CHUNK for chunk in chunks)


def test_equal_bytes_are_packed_equally_whatever_pieces_they_come_in() -> None:
    content = CONTENTS["several"]
    packed = {b"".join(gzip_chunks(cut(content, size))) for size in (7_001, 1 << 20, 1 << 30)}
    assert len(packed) == 1


def test_packing_that_is_given_up_ends_its_threads() -> None:
    before = set(threading.enumerate())
    packing = gzip_chunks(os.urandom(1 << 20) for _ in range(1000))
    for _ in range(3):
        next(packing)
    assert set(threading.enumerate()) > before
    packing.close()
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize("damage", ["cut off", "changed", "a wrong sum", "not even a header"])
def test_damage_is_reported(damage: str) -> None:
    packed = b"".join(gzip_chunks([NOISE]))
    damaged = {
        "cut off": packed[:-9],
        "changed": packed[:400_000] + b"\xff" * 99 + packed[400_099:],
        "a wrong sum": packed[:-8] + b"\0" * 8,
        "not even a header": packed[:7],
    }[damage]
    with pytest.raises(ArchiveError, match="it is not a valid gzip stream"):
        list(uncompressed_chunks(io.BytesIO(damaged), what="it"))


def test_a_gigabyte_of_zeros_comes_in_small_chunks() -> None:
    packed = b"".join(gzip_chunks(bytes(1 << 20) for _ in range(64)))
    assert len(packed) < 100_000
    assert max(map(len, uncompressed_chunks(io.BytesIO(packed), what="it"))) <= CHUNK


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_a_thread_hashes_what_one_hash_would(content: bytes) -> None:
    import hashlib

    stream = StreamHash()
    for piece in cut(content, 300_000):
        stream.update(piece)
    assert stream.digest() == f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert stream.digest() == stream.digest()
