"""Archives made to do harm: one clear error each, nothing outside, nothing left behind."""

from __future__ import annotations

import gzip
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from minidock.document import writer_of
from minidock.engine.image import archive as engine_archive
from minidock.engine.image import removal
from minidock.engine.image.archive import import_rootfs, load
from minidock.engine.image.images import ImageStore
from minidock.engine.image.lock import ImagesLock
from minidock.errors import ArchiveError, StoreError
from minidock.paths import Store
from support import archives
from support.archives import directory, entry, file, hard_link, symlink
from support.command import SOURCE
from support.patience import patience

pytestmark = pytest.mark.root

LAYER = archives.layer(file("f", b"content"))


def files_of(store: Store) -> list[str]:
    """All files that the store holds, but its version and its lock."""
    found = [
        os.path.relpath(os.path.join(folder, name), store.root)
        for folder, _, names in os.walk(store.root)
        for name in names
    ]
    return sorted(set(found) - {"version", "lock"})


@pytest.fixture
def refused(store: Store) -> Callable[..., str]:
    """Loads an archive that must be refused; returns the error's text. Nothing may be left."""

    def check(content: bytes) -> str:
        with pytest.raises(ArchiveError) as caught:
            load(store, io.BytesIO(content))
        assert files_of(store) == []
        assert os.listdir(store.staging) == os.listdir(store.layers) == []
        text = str(caught.value)
        assert text and "\n" not in text and "Traceback" not in text
        return text

    return check


# --- layers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([file("../evil", b"x")], "leads out of the layer"),
        ([file("a/../../evil", b"x")], "leads out of the layer"),
        ([file("/../../etc/evil", b"x")], "leads out of the layer"),
        ([file("../.wh.evil")], "leads out of the layer"),
        ([file("d/../../.wh..wh..opq")], "leads out of the layer"),
        ([directory("../d")], "leads out of the layer"),
        ([hard_link("passwd", "../../etc/passwd")], "leads out of the layer"),
        ([hard_link("passwd", "/etc/passwd")], "not in this layer"),
        ([symlink("e", "/etc"), hard_link("passwd", "e/passwd")], "not in this layer"),
        ([hard_link("self", "self")], "not in this layer"),
        ([directory("d"), hard_link("l", "d")], "cannot unpack"),
        ([file(".wh.")], "names no file"),
        ([file(".wh...")], "names no file"),
        ([file("a"), file("a/b")], "cannot unpack"),
        ([symlink("loop", "loop"), file("loop/x")], "cannot unpack"),
        ([symlink("s", "")], "cannot unpack"),
        ([file("n" * 300)], "cannot unpack"),
        ([file("d/" * 3000 + "f")], "cannot unpack"),
        ([entry("v", b"V")], "has a type that a layer cannot contain"),
        ([file("f", pax_headers={"SCHILY.xattr.nonsense": "1"})], "cannot unpack"),
        ([file("f", pax_headers={"mtime": "soon"})], "impossible time"),
        ([file("f", pax_headers={"uid": "-1"})], "impossible uid"),
        ([file("f", pax_headers={"uid": "4294967295"})], "impossible user or group"),
        ([file("f", pax_headers={"size": "9" * 30})], "impossible size"),
        ([file("f", pax_headers={"size": str(1 << 62)})], "truncated"),
    ],
)
def test_hostile_entry_is_refused(
    refused: Callable[..., str], entries: list[archives.Entry], words: str
) -> None:
    assert words in refused(archives.docker_archive([archives.layer(*entries)], tags=["evil:1"]))


def test_absolute_paths_stay_in_the_layer_as_with_docker(store: Store, tmp_path: Path) -> None:
    target = tmp_path / "evil"
    archive = archives.docker_archive([archives.layer(file(str(target), b"x"))], tags=["a:1"])
    load(store, io.BytesIO(archive))
    assert not target.exists()
    root = ImageStore(store).resolve("a:1").layer_directories()[0]
    assert Path(root + str(target)).read_bytes() == b"x"


def _header(**fields: bytes) -> bytes:
    """A header block with some fields overwritten by raw bytes, and a checksum that is right."""
    places = {"mode": 100, "uid": 108, "size": 124, "mtime": 136, "kind": 156, "link": 157}
    block = bytearray(archives.layer(file("f", b"1234"))[:512])
    for name, value in fields.items():
        block[places[name] : places[name] + len(value)] = value
    block[148:156] = b"        "
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (_header(size=b"\xff" * 12) + bytes(1024), "impossible size"),
        (_header(size=b"\x80" + b"\xff" * 11) + bytes(1024), "impossible size"),
        (_header(size=b"77777777777\0") + bytes(4096), "truncated"),
        (_header(size=b"12x4567\0") + bytes(1024), "damaged"),
        (_header(size=b"-1234567890\0") + bytes(1024), "damaged"),
        (_header(uid=b"\xff" * 8) + bytes(1024), "impossible uid"),
        (_header(kind=b"x", size=b"00077777777\0") + bytes(1024), "limit"),
        (_header(kind=b"L", size=b"00077777777\0") + bytes(1024), "limit"),
        (_header(kind=b"x") + b"9999" + bytes(508 + 1024), "PAX"),
        (_header(kind=b"x"), "truncated"),
        (_header(kind=b"S") + b"1234" + bytes(508 + 1024), "sparse"),
        (_header()[:300], "truncated"),
        (_header() + b"1234", "truncated"),
        (LAYER[:512] + b"?" + LAYER[513:], ""),
        (b"not a tar archive at all" * 100, "not a tar archive"),
        (b"", "empty"),
    ],
)
def test_damaged_layer_is_refused(refused: Callable[..., str], layer: bytes, words: str) -> None:
    text = refused(archives.docker_archive([layer], tags=["evil:1"])) if words else ""
    assert words in text


@pytest.mark.parametrize(
    "headers",
    [
        {"GNU.sparse.map": "0,4,2,4", "GNU.sparse.size": "10"},
        {"GNU.sparse.map": "8,4", "GNU.sparse.size": "10"},
        {"GNU.sparse.map": "0,4", "GNU.sparse.size": "-1"},
        {"GNU.sparse.map": "0,9", "GNU.sparse.size": "100"},
        {"GNU.sparse.map": "0,4,5", "GNU.sparse.size": "100"},
        {"GNU.sparse.map": "0,4"},
        {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9"},
    ],
)
def test_sparse_map_that_cannot_be_is_refused(
    refused: Callable[..., str], headers: dict[str, str]
) -> None:
    layer = archives.layer(file("s", b"1234", pax_headers=headers))
    assert "sparse" in refused(archives.docker_archive([layer], tags=["evil:1"]))


def test_a_sparse_file_of_a_petabyte_costs_nothing_or_is_refused(store: Store) -> None:
    headers = {"GNU.sparse.map": "0,4", "GNU.sparse.size": str(1 << 50)}
    archive = archives.docker_archive([archives.layer(file("s", b"1234", pax_headers=headers))])
    try:
        load(store, io.BytesIO(archive))
    except ArchiveError as error:  # ext4's largest file has 16 TiB
        assert "cannot unpack" in str(error)
    used = subprocess.check_output(["du", "-sk", store.root]).split()[0]
    assert int(used) < 1000


def test_a_bomb_of_zeros_fills_no_disk(store: Store) -> None:
    layer = archives.layer(file("zeros", bytes(200 << 20)))
    archive = gzip.compress(archives.docker_archive([gzip.compress(layer, 1)], tags=["bomb:1"],
                            config_bytes=archives.config([layer])), 1)  # fmt: skip
    assert len(archive) < 2 << 20
    load(store, io.BytesIO(archive))
    used = subprocess.check_output(["du", "-sk", store.root]).split()[0]
    assert int(used) < 2000
    assert ImageStore(store).resolve("bomb:1").size == 200 << 20


# --- the archive around them ---------------------------------------------------------------------


def _members(**changed: bytes | None) -> dict[str, bytes]:
    members = archives.docker_members([LAYER], tags=["good:1"])
    for name, content in changed.items():
        if content is None:
            del members[name]
        else:
            members[name.replace("__", ".")] = content
    return members


def _manifest(**fields: object) -> bytes:
    members = archives.docker_members([LAYER], tags=["good:1"])
    table = json.loads(members["manifest.json"])
    table[0].update(fields)
    members["manifest.json"] = json.dumps(table).encode()
    return archives.archive(members)


@pytest.mark.parametrize(
    "manifest",
    [
        b"", b"{", b"null", b"{}", b"[]", b"[1]", b'"x"', b"[{}]", b"[[]]", b"\xff\xfe", b"NaN",
        b"[" * 100_000, b'{"a":' * 50_000, b"1" * 100_000,
    ],
    ids=range(14),
)  # fmt: skip
def test_invalid_manifest_is_refused(refused: Callable[..., str], manifest: bytes) -> None:
    assert refused(archives.archive(_members(manifest__json=manifest)))


@pytest.mark.parametrize(
    "fields",
    [
        {"Config": 1}, {"Config": None}, {"Config": "missing.json"}, {"Config": "../../etc/passwd"},
        {"Config": "/etc/passwd"}, {"Config": ""}, {"Layers": "x"}, {"Layers": [1]},
        {"Layers": ["/etc/passwd"]}, {"Layers": ["missing"]}, {"Layers": []},
        {"Layers": ["manifest.json"]}, {"RepoTags": "x"}, {"RepoTags": [None]},
        {"RepoTags": ["UPPER:1"]}, {"RepoTags": ["../x:1"]}, {"RepoTags": ["x:" + "t" * 200]},
        {"RepoTags": ["a b"]}, {"RepoTags": ["x\n:1"]}, {"RepoTags": [""]},
    ],
    ids=str,
)  # fmt: skip
def test_manifest_with_wrong_fields_is_refused(
    refused: Callable[..., str], fields: dict[str, object]
) -> None:
    assert refused(_manifest(**fields))


@pytest.mark.parametrize(
    "config",
    [
        b"", b"[]", b"{}", b'{"rootfs":1}', b'{"rootfs":{"diff_ids":{}}}',
        b'{"rootfs":{"diff_ids":[1]}}', b'{"rootfs":{"diff_ids":["sha256:../../x"]}}',
        archives.config([LAYER], config=[]), archives.config([LAYER], config={"Env": "x"}),
        archives.config([LAYER], config={"Cmd": [1]}), archives.config([LAYER], history=1),
        archives.config([LAYER], config={"Env": ["A=\0"]}), archives.config([LAYER], os="windows"),
        archives.config([LAYER], config={"User": "\ud800"}), archives.config([LAYER], created=1),
        archives.config([LAYER], config={"Labels": {"a": 1}}), archives.config([b"other"]),
        archives.config([LAYER] * 600), archives.config([LAYER], config={"Healthcheck": []}),
        archives.config([LAYER, LAYER]), archives.config([LAYER], deep="[" * 9)[:-1],
    ],
    ids=range(21),
)  # fmt: skip
def test_config_of_the_wrong_shape_is_refused(refused: Callable[..., str], config: bytes) -> None:
    layers = [LAYER] * (600 if config.count(b"sha256") == 600 else 1)
    assert refused(archives.docker_archive(layers, tags=["x:1"], config_bytes=config))


@pytest.mark.parametrize(
    "kind", [tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE, tarfile.BLKTYPE]
)
@pytest.mark.parametrize("place", ["manifest.json", "config", "layer"])
def test_no_file_where_a_file_belongs_is_refused(
    refused: Callable[..., str], kind: bytes, place: str
) -> None:
    members = _members()
    config, layer, manifest = members
    name = {"manifest.json": manifest, "config": config, "layer": layer}[place]
    entries = [file(n, c) if n != name else entry(n, kind) for n, c in members.items()]
    assert " in the archive is a" in refused(archives.archive(entries))


@pytest.mark.parametrize(
    "target", ["/etc/passwd", "../../../../etc/passwd", "nowhere", "manifest.json"]
)
@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_links_in_an_archive_lead_to_members_or_nowhere(
    refused: Callable[..., str], target: str, kind: bytes, place: int
) -> None:
    entries = [file(n, c) for n, c in _members().items()]
    entries[place] = entry(entries[place][0].name, kind, linkname=target)
    text = refused(archives.archive(entries))
    assert "root:" not in text


@pytest.mark.parametrize("cut", [100, 700, 1500, -9000, -12_000])
@pytest.mark.parametrize("pack", [bytes, gzip.compress, "zstd"])
def test_truncated_archive_is_refused(
    refused: Callable[..., str], cut: int, pack: Callable[[bytes], bytes] | str
) -> None:
    whole = archives.docker_archive([archives.layer(file("r", os.urandom(20_000)))], tags=["t:1"])
    if pack == "zstd":
        import zstandard

        packed = zstandard.ZstdCompressor().compress(whole)
    else:
        packed = pack(whole)  # type: ignore[operator]
    assert refused(packed[: cut if cut > 0 else len(packed) + cut])


@pytest.mark.parametrize("algorithm", ["gzip", "zstd"])
@pytest.mark.parametrize("damage", ["cut", "flip", "garbage"])
def test_damaged_compressed_layer_is_refused(
    refused: Callable[..., str], algorithm: str, damage: str
) -> None:
    import zstandard

    layer = archives.layer(file("r", os.urandom(20_000)))
    packed = gzip.compress(layer) if algorithm == "gzip" else zstandard.compress(layer)
    bad = {
        "cut": packed[:-3000],
        "flip": packed[:9000] + bytes((packed[9000] ^ 255,)) + packed[9001:],
        "garbage": packed[:300] + os.urandom(len(packed) - 300),
    }[damage]
    assert refused(archives.archive(archives.docker_members([layer], tags=["x:1"]) | {
        f"{0:064x}/layer.tar": bad}))  # fmt: skip


@pytest.mark.parametrize("place", range(4))
def test_oci_blob_of_another_digest_is_refused(refused: Callable[..., str], place: int) -> None:
    members = archives.oci_members([LAYER], compressed=[archives.gzipped(LAYER)], name="x:1")
    blobs = [name for name in members if name.startswith("blobs/")]
    if place == 3:  # trailing bytes that a decompressor would not notice
        members[blobs[2]] += bytes(512)
    else:
        members[blobs[place]] = members[blobs[place]].replace(b"sh", b"ls") + b" "
    assert refused(archives.archive(members))


@pytest.mark.parametrize(
    "index",
    [
        b"{}", b"[]", b'{"manifests":1}', b'{"manifests":[]}', b'{"manifests":[1]}',
        b'{"manifests":[{"digest":"sha256:../x","size":1}]}',
        b'{"manifests":[{"digest":"sha512:00","size":1}]}',
        b'{"manifests":[{"digest":"sha256:' + b"0" * 64 + b'","size":-1}]}',
        b'{"manifests":[{"digest":"sha256:' + b"0" * 64 + b'","size":1}]}',
    ],
    ids=range(9),
)  # fmt: skip
def test_index_of_the_wrong_shape_is_refused(refused: Callable[..., str], index: bytes) -> None:
    members = archives.oci_members([LAYER], name="x:1") | {"index.json": index}
    assert refused(archives.archive(members))


def test_thousands_of_images_of_which_the_last_is_broken_leave_none(
    refused: Callable[..., str],
) -> None:
    config = archives.config([LAYER])
    table = [
        {"Config": "c.json", "RepoTags": [f"many:{n}"], "Layers": ["layer"]} for n in range(5000)
    ]
    table[-1] = {"Config": "last.json", "RepoTags": None, "Layers": ["missing"]}
    members = {"c.json": config, "last.json": archives.config([b"other"]), "layer": LAYER}
    members["manifest.json"] = json.dumps(table).encode()
    assert "missing" in refused(archives.archive(members))


def test_what_is_no_image_archive_says_so(refused: Callable[..., str]) -> None:
    assert "neither manifest.json nor index.json" in refused(LAYER)
    assert "neither manifest.json nor index.json" in refused(bytes(10240))
    assert "not a tar archive" in refused(b"#!/bin/sh\n" * 200)
    assert refused(b"")


def test_import_of_what_is_no_tar_is_refused(store: Store) -> None:
    for content in (b"", b"x" * 5000, LAYER[:700], gzip.compress(LAYER)[:80]):
        with pytest.raises(ArchiveError):
            import_rootfs(store, io.BytesIO(content), "x:1")
    assert files_of(store) == []


# --- interrupted ---------------------------------------------------------------------------------


def test_kill_9_during_load_leaves_what_the_next_command_sweeps(
    store: Store, tmp_path: Path
) -> None:
    layer = archives.layer(*(file(f"f{n}", os.urandom(5000)) for n in range(2000)))
    path = tmp_path / "image.tar"
    path.write_bytes(archives.docker_archive([layer], tags=["big:1"]))
    program = (
        "import sys; from minidock.paths import Store\n"
        "from minidock.engine.image.archive import load\n"
        "load(Store(), open(sys.argv[1], 'rb'))"
    )
    for milliseconds in (60, 90, 120, 160, 200):
        loading = subprocess.Popen(
            [sys.executable, "-c", program, path], env={**os.environ, "PYTHONPATH": str(SOURCE)}
        )
        time.sleep(milliseconds / 1000)  # at any moment of its way
        loading.send_signal(signal.SIGKILL)
        loading.wait()
        deadline = time.monotonic() + patience(5)
        while os.path.exists(store.staging) and os.listdir(store.staging):
            with ImagesLock(store):
                pass
            assert time.monotonic() < deadline, os.listdir(store.staging)
            time.sleep(0.02)
        if os.path.exists(store.images):
            break  # it was done before it was killed
        # A document's temporary file stays until `system check --repair`.
        assert [name for name in files_of(store) if not writer_of(name)] == []
    load(store, path.open("rb"))
    assert ImageStore(store).resolve("big:1").size == 2000 * 5000


def test_what_is_at_work_is_not_swept(store: Store) -> None:
    from minidock.engine.store.store import Staging, prepare

    prepare(store)
    with Staging(store, "load") as staging:
        subprocess.run(
            [sys.executable, "-c", "from minidock.engine.image.lock import ImagesLock\n"
             "from minidock.paths import Store\nwith ImagesLock(Store()): pass"],
            env={**os.environ, "PYTHONPATH": str(SOURCE)}, check=True,
        )  # fmt: skip
        assert os.path.isdir(staging.path)
    assert not os.path.exists(staging.path)


def test_a_full_disk_is_said_and_leaves_nothing(store: Store, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", small], check=True)
    try:
        full = Store(str(small))
        archive = archives.docker_archive([archives.layer(file("r", os.urandom(5 << 20)))])
        path = tmp_path / "image.tar"
        path.write_bytes(archive)
        with pytest.raises(StoreError, match="No space left on device"), path.open("rb") as stream:
            load(full, stream)
        with pytest.raises(StoreError, match="No space left on device"):
            load(full, io.BytesIO(archive))
        assert os.listdir(full.layers) == os.listdir(full.staging) == []
    finally:
        subprocess.run(["umount", small], check=True)


def test_a_layer_that_vanishes_while_it_is_needed_is_unpacked_after_all(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another command removes an image between our look at its layers and our use of them."""
    load(store, io.BytesIO(archives.docker_archive([LAYER], tags=["old:1"])))
    has_layer = engine_archive._has_layer
    answers = []

    def had_it(store: Store, chain_id: str) -> bool:
        answers.append(has_layer(store, chain_id))
        if len(answers) == 1:
            removal.remove(store, "old:1", force=False, in_use=lambda _: [])
        return answers[-1]

    monkeypatch.setattr(engine_archive, "_has_layer", had_it)
    archive = archives.docker_archive(
        [LAYER], tags=["new:1"], config_bytes=archives.config([LAYER], author="other")
    )
    load(store, io.BytesIO(archive))
    assert answers == [True, False]
    assert os.path.exists(ImageStore(store).resolve("new:1").layer_directories()[0] + "/f")
