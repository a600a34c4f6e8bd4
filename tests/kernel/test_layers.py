"""Layers as the kernel shows them after unpacking, and as archives after they are made again."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from minidock.engine.image.layers import StagedLayer, layer_archive, unpack_layer
from minidock.engine.image.tar_split import rebuild_archive
from minidock.engine.store.store import Staging, prepare
from minidock.errors import ArchiveError
from minidock.paths import Store
from support import archives
from support.archives import directory, entry, file, hard_link, symlink

pytestmark = pytest.mark.root

CAP_NET_RAW = b"\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"


class Unpacker:
    """Unpacks archives into one staging entry."""

    def __init__(self, staging: Path) -> None:
        self.staging = staging
        self.count = 0

    def __call__(self, archive: bytes, *, piece: int = 10_007) -> Path:
        """The diff directory of a layer; that its archive can be made again is checked always."""
        self.count += 1
        path = self.staging / str(self.count)
        pieces = (archive[at : at + piece] for at in range(0, len(archive), piece))
        layer = unpack_layer(pieces, str(path))
        assert isinstance(layer, StagedLayer)
        assert layer.diff_id == archives.digest(archive)
        assert b"".join(rebuild_archive(str(path))) == archive
        return path / "diff"


@pytest.fixture
def unpack(store: Store) -> Iterator[Unpacker]:
    prepare(store)
    with Staging(store, "test") as staging:
        yield Unpacker(Path(staging.path))


def test_contents_owners_modes_and_times_are_the_archives(unpack: Unpacker) -> None:
    root = unpack(
        archives.layer(
            directory("bin", mode=0o1777, uid=3, gid=4, mtime=1_000_000_000),
            file("bin/tool", b"x" * 70_000, mode=0o4755, uid=1000, gid=2000, mtime=1234567890),
            file("bin/odd", b"odd", mtime=1234567890.25),
            symlink("bin/link", "tool", uid=7, gid=8, mtime=1_100_000_000),
        )
    )
    tool = (root / "bin/tool").stat()
    assert stat.S_IMODE(tool.st_mode) == 0o4755
    assert (tool.st_uid, tool.st_gid, tool.st_size, tool.st_mtime) == (
        1000,
        2000,
        70_000,
        1234567890,
    )
    assert (root / "bin/odd").stat().st_mtime == 1234567890.25
    folder = (root / "bin").stat()
    assert (stat.S_IMODE(folder.st_mode), folder.st_uid, folder.st_gid) == (0o1777, 3, 4)
    assert folder.st_mtime == 1_000_000_000
    link = (root / "bin/link").lstat()
    assert (link.st_uid, link.st_gid, link.st_mtime) == (7, 8, 1_100_000_000)
    assert os.readlink(root / "bin/link") == "tool"


def test_directories_that_the_archive_left_out_are_roots(unpack: Unpacker) -> None:
    root = unpack(archives.layer(file("a/b/c/file")))
    made = (root / "a/b").stat()
    assert (stat.S_IMODE(made.st_mode), made.st_uid) == (0o755, 0)


def test_hard_links_are_one_inode(unpack: Unpacker) -> None:
    root = unpack(archives.layer(file("a", b"once"), hard_link("d/b", "a"), hard_link("c", "./a")))
    assert (root / "a").stat().st_ino == (root / "d/b").stat().st_ino == (root / "c").stat().st_ino


def test_device_nodes_and_fifos_are_made(unpack: Unpacker) -> None:
    root = unpack(
        archives.layer(
            entry("null", tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666),
            entry("disk", tarfile.BLKTYPE, devmajor=259, devminor=70_000),
            entry("pipe", tarfile.FIFOTYPE, mode=0o620),
        )
    )
    assert (root / "null").stat().st_rdev == os.makedev(1, 3)
    assert stat.S_IMODE((root / "null").stat().st_mode) == 0o666
    assert (root / "disk").stat().st_rdev == os.makedev(259, 70_000)
    assert stat.S_ISFIFO((root / "pipe").stat().st_mode)


def test_extended_attributes_survive_but_overlayfs_own_ones_do_not(unpack: Unpacker) -> None:
    headers = {
        "SCHILY.xattr.user.note": "grüße",
        "SCHILY.xattr.trusted.overlay.opaque": "y",
        "SCHILY.xattr.trusted.overlay.redirect": "/etc",
    }
    root = unpack(
        archives.layer(directory("d", pax_headers=headers), file("f", pax_headers=headers))
    )
    for name in ("d", "f"):
        assert os.getxattr(root / name, "user.note") == "grüße".encode()
        assert [x for x in os.listxattr(root / name) if "overlay" in x] == []


def test_file_capabilities_survive_the_change_of_owner(unpack: Unpacker, require: object) -> None:
    record = b"SCHILY.xattr.security.capability=" + CAP_NET_RAW + b"\n"
    pax = b"%d " % (len(record) + 3) + record
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, len(pax)
    root = unpack(archives.layer((info, pax), file("ping", b"#!", mode=0o755, uid=5, gid=5)))
    assert os.getxattr(root / "ping", "security.capability") == CAP_NET_RAW
    getcap = require("getcap")  # type: ignore[operator]
    assert b"cap_net_raw" in subprocess.check_output([getcap, root / "ping"])


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_and_links_survive(unpack: Unpacker, format: int) -> None:
    name = "/".join(["directory-with-a-long-name"] * 10) + "/" + "f" * 250
    root = unpack(
        archives.layer(file(name, b"far"), hard_link("h", name), symlink("s", name), format=format)
    )
    assert (root / name).read_bytes() == b"far"
    assert (root / "h").stat().st_nlink == 2
    assert os.readlink(root / "s") == name


def test_names_that_are_no_utf8_survive(unpack: Unpacker) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT, encoding="latin-1") as t:
        t.addfile(*[file("caf\xe9")[0]])
    root = unpack(stream.getvalue())
    assert os.listdir(os.fsencode(root)) == [b"caf\xe9"]


@pytest.mark.parametrize("options", [["--format=gnu"], ["--format=pax", "--sparse-version=0.0"],
                                     ["--format=pax", "--sparse-version=0.1"],
                                     ["--format=pax", "--sparse-version=1.0"]])  # fmt: skip
def test_sparse_files_of_gnu_tar_keep_their_holes(
    unpack: Unpacker, tmp_path: Path, options: list[str]
) -> None:
    sparse = tmp_path / "sparse"
    with open(sparse, "wb") as handle:
        for index in range(40):
            handle.seek(index << 21)
            handle.write(b"data %d" % index)
        handle.truncate(1 << 27)
    (tmp_path / "empty").touch()
    os.truncate(tmp_path / "empty", 1 << 25)
    archive = subprocess.check_output(
        ["tar", "-C", tmp_path, "--sparse", *options, "-cf", "-", "sparse", "empty"]
    )
    root = unpack(archive, piece=1 << 18)
    status = (root / "sparse").stat()
    assert status.st_size == 1 << 27
    assert status.st_blocks * 512 < 2 << 20
    assert (root / "empty").stat().st_size == 1 << 25
    assert (root / "empty").stat().st_blocks == 0
    subprocess.check_call(["cmp", sparse, root / "sparse"])


def test_zeros_that_are_written_out_become_holes(unpack: Unpacker) -> None:
    content = b"start" + bytes(20 << 20) + b"end" + bytes(5 << 20)
    root = unpack(archives.layer(file("zeros", content)), piece=1 << 18)
    assert (root / "zeros").read_bytes() == content
    assert (root / "zeros").stat().st_blocks * 512 < 2 << 20


def test_whiteouts_become_overlayfs_own(unpack: Unpacker) -> None:
    root = unpack(
        archives.layer(
            directory("d"),
            file("d/.wh.gone"),
            directory("o"),
            file("o/.wh..wh..opq"),
            file("o/new"),
        )
    )
    gone = (root / "d/gone").lstat()
    assert stat.S_ISCHR(gone.st_mode) and gone.st_rdev == 0
    assert os.getxattr(root / "o", "trusted.overlay.opaque") == b"y"
    assert sorted(os.listdir(root / "o")) == ["new"]


def test_notes_of_aufs_mean_nothing(unpack: Unpacker) -> None:
    root = unpack(archives.layer(directory(".wh..wh.plnk"), file(".wh..wh.aufs", b"x"), file("a")))
    assert os.listdir(root) == ["a"]


def test_a_directory_whited_out_and_made_again_hides_the_lower_one(unpack: Unpacker) -> None:
    for entries in (
        [file(".wh.d"), directory("d"), file("d/new")],
        [directory("d"), file("d/new"), file(".wh.d")],
    ):
        root = unpack(archives.layer(*entries))
        assert os.getxattr(root / "d", "trusted.overlay.opaque") == b"y"
        assert os.listdir(root / "d") == ["new"]


def test_a_later_entry_replaces_an_earlier_one_and_the_archive_still_comes_back(
    unpack: Unpacker,
) -> None:
    root = unpack(
        archives.layer(
            file("twice", b"first"), hard_link("kept", "twice"), file("twice", b"second!"),
            directory("tree"), file("tree/a/b", b"deep"), symlink("tree/s", "a"),
            file("tree", b"now"),
            file("was-a-file", b"f"), directory("was-a-file"), file("was-a-file/in", b"in"),
            directory("merged", mode=0o700), file("merged/x", b"x"),
            directory("merged", mode=0o711),
            symlink("lib", "usr/lib"), file("lib/so", b"so"), file("usr/lib/so", b"newer"),
            hard_link("again", "kept"), file("kept", b"third"),
        )
    )  # fmt: skip
    assert (root / "twice").read_bytes() == b"second!"
    assert (root / "kept").read_bytes() == b"third"
    assert (root / "again").read_bytes() == b"first"
    assert (root / "tree").read_bytes() == b"now"
    assert (root / "was-a-file/in").read_bytes() == b"in"
    assert (root / "merged/x").exists()
    assert stat.S_IMODE((root / "merged").stat().st_mode) == 0o711
    assert (root / "usr/lib/so").read_bytes() == b"newer"


def test_a_symbolic_link_in_the_layer_leads_to_a_place_in_the_layer(
    unpack: Unpacker, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    up = "../" * 40
    root = unpack(
        archives.layer(
            symlink("absolute", str(outside)), file("absolute/f", b"1"),
            symlink("relative", f"{up}{outside}"), file("relative/g", b"2"),
        )
    )  # fmt: skip
    assert list(outside.iterdir()) == []
    assert (root / str(outside).lstrip("/") / "f").read_bytes() == b"1"
    assert (root / str(outside).lstrip("/") / "g").read_bytes() == b"2"


def test_the_size_is_dockers(unpack: Unpacker) -> None:
    archive = archives.layer(
        file("a", b"12345"),
        hard_link("b", "a"),
        symlink("s", "123"),
        directory("d"),
        file("d/c", b"1"),
    )
    layer = unpack_layer([archive], f"{unpack.staging}/sized")
    assert layer.size_bytes == 5 + 3 + 1


def test_a_layer_of_another_digest_is_refused(unpack: Unpacker) -> None:
    with pytest.raises(ArchiveError, match="has the wrong digest"):
        unpack_layer(
            [archives.layer(file("a"))], f"{unpack.staging}/x", diff_id="sha256:" + "0" * 64
        )


def test_nothing_of_a_rootfs_is_imported_while_it_is_unpacked(unpack: Unpacker) -> None:
    """A layer full of modules with our names, and an error after chroot: none of them runs."""
    poison = b"open('/poisoned', 'w')\n"
    names = ["traceback", "errno", "posixpath", "linecache", "tokenize", "encodings/idna", "re"]
    for directory_name in (
        "",
        "work/main/src/",
        "usr/lib/python3/",
        *(p.lstrip("/") + "/" for p in os.sys.path),
    ):  # type: ignore[attr-defined]
        entries = [file(f"{directory_name}{name}.py", poison) for name in names]
        archive = archives.layer(*entries, hard_link("broken", "nowhere"))
        with pytest.raises(ArchiveError, match="not in this layer"):
            unpack(archive)
        assert not (unpack.staging / str(unpack.count) / "diff/poisoned").exists()


def test_the_archive_of_a_changed_layer_is_refused(store: Store) -> None:
    from minidock.engine.image.archive import import_rootfs
    from minidock.errors import StoreError

    image = import_rootfs(store, io.BytesIO(archives.layer(file("a", b"1234567"))), "x:1")
    (Path(image.layer_directories()[0]) / "a").write_bytes(b"7654321")
    with pytest.raises(StoreError, match="were changed since it was unpacked"):
        b"".join(layer_archive(store, image.chain_ids[0]))
