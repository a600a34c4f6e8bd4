"""Our tar reader and writer, held against Python's tarfile and GNU tar."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minidock.errors import ArchiveError
from minidock.oci import tar_header, tar_writer
from minidock.oci.tar import TarReader

NAME = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=300
).filter(lambda name: not name.endswith("/"))
NUMBER = st.integers(0, (1 << 32) - 2)
ENTRY = st.builds(
    lambda name, content, mode, uid, gid, mtime: (name, content, mode, uid, gid, mtime),
    NAME, st.binary(max_size=1500), st.integers(0, 0o7777), NUMBER, NUMBER,
    st.integers(0, 1 << 40),
)  # fmt: skip


def read(archive: bytes) -> list[tuple[object, ...]]:
    source = io.BytesIO(archive)
    reader = TarReader(source)
    return [
        (e.name.decode(), reader.read_content(1 << 20), e.mode, e.uid, e.gid, e.mtime_ns // 10**9)
        for e in reader
    ]


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    st.lists(ENTRY, max_size=4),
    st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
)
def test_what_tarfile_writes_is_read(
    entries: list[tuple[str, bytes, int, int, int, int]], format: int
) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=format) as out:
        for name, content, mode, uid, gid, mtime in entries:
            info = tarfile.TarInfo(name)
            info.size, info.mode, info.uid, info.gid, info.mtime = (
                len(content),
                mode,
                uid,
                gid,
                mtime,
            )
            out.addfile(info, io.BytesIO(content))
    assert read(stream.getvalue()) == entries


@settings(max_examples=60, deadline=None)
@given(st.lists(ENTRY, max_size=4))
def test_what_we_write_is_read_by_us_and_by_tarfile(
    entries: list[tuple[str, bytes, int, int, int, int]],
) -> None:
    archive = b"".join(
        tar_writer.header(name.encode(), mode=mode, uid=uid, gid=gid, size_bytes=len(content),
                          mtime_seconds=mtime, xattrs={b"user.x": b"\xff=\n\0"})
        + content + tar_writer.padding(len(content))
        for name, content, mode, uid, gid, mtime in entries
    ) + tar_writer.END  # fmt: skip
    assert read(archive) == entries
    theirs = tarfile.open(fileobj=io.BytesIO(archive))
    assert [
        (m.name, theirs.extractfile(m).read(), m.mode, m.uid, m.gid, m.mtime)  # type: ignore[union-attr]
        for m in theirs
    ] == entries
    assert all(e.xattrs == {b"user.x": b"\xff=\n\0"} for e in TarReader(io.BytesIO(archive)))


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=2048), st.integers(0, 1500), st.binary(min_size=1, max_size=40))
def test_damage_raises_nothing_but_archive_error(noise: bytes, at: int, patch: bytes) -> None:
    whole = bytearray(
        tar_writer.header(b"n" * 200, size_bytes=3) + b"abc" + bytes(509) + tar_writer.END
    )
    whole[at : at + len(patch)] = patch
    for archive in (bytes(whole), noise, bytes(whole[:512]) + noise):
        try:
            read(archive)
        except ArchiveError:
            continue
        except UnicodeDecodeError:  # of this test: the name was patched
            continue


def test_records_are_all_that_is_not_content() -> None:
    archive = tar_writer.header(b"f", size_bytes=3) + b"abc" + bytes(509) + tar_writer.END + b"tail"
    recorded: list[bytes] = []
    reader = TarReader(io.BytesIO(archive), record=recorded.append)
    for _ in reader:
        assert reader.read_content(99) == b"abc"
    reader.skip_rest()
    assert b"".join(recorded) == archive[:512] + archive[515:]


@pytest.mark.parametrize("version", ["0.0", "0.1", "1.0", "old"])
def test_gnu_tars_sparse_maps_are_read(tmp_path: Path, version: str) -> None:
    with (tmp_path / "s").open("wb") as sparse:
        for index in range(30):
            sparse.seek(index << 20)
            sparse.write(b"x")
        sparse.truncate(40 << 20)
    options = ["--format=gnu"] if version == "old" else [f"--sparse-version={version}"]
    archive = subprocess.check_output(
        ["tar", "-C", tmp_path, "--format=pax", "-S", *options, "-cf", "-", "s"]
    )
    (entry,) = TarReader(io.BytesIO(archive))
    assert (entry.name, entry.size_bytes) == (b"s", 40 << 20)
    assert [offset for offset, length in entry.segments or () if length] == [
        index << 20 for index in range(30)
    ]


def test_old_headers_are_read() -> None:
    info = tarfile.TarInfo("dir/")
    info.type = tarfile.AREGTYPE
    (entry,) = TarReader(io.BytesIO(info.tobuf(tarfile.USTAR_FORMAT) + bytes(1024)))
    assert entry.kind == tar_header.DIRECTORY
    info = tarfile.TarInfo("a/" * 60 + "file")
    (entry,) = TarReader(io.BytesIO(info.tobuf(tarfile.USTAR_FORMAT) + bytes(1024)))
    assert entry.name == b"a/" * 60 + b"file"
