"""A container's own layer, taken or copied, is the layer that its archive would unpack to."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import socket
import stat
import subprocess
from pathlib import Path

import pytest

from minidock.engine.image.archive import import_rootfs
from minidock.engine.image.image import Image
from minidock.engine.image.images import ImageStore
from minidock.engine.image.layers import StagedLayer, layer_of_upper, unpack_layer
from minidock.engine.image.tar_split import rebuild_archive
from minidock.engine.image.upper import Upper
from minidock.errors import Conflict, StoreError
from minidock.kernel.mount import MNT_DETACH, unmount
from minidock.kernel.overlay import mount_overlay
from minidock.paths import Store
from support import archives
from support.archives import directory, file, symlink

pytestmark = pytest.mark.root

BASE = archives.layer(
    directory("d"), file("d/one", b"1" * 5000), file("d/two", b"2"), directory("e"), file("e/f"),
    file("gone", b"g"), directory("opq"), file("opq/old"), symlink("link", "d/one"),
)  # fmt: skip
SCRIPT = r"""
echo more >>d/one; chmod 4711 d/two; rm gone e/f; rm -r opq; mkdir -m 3777 opq; echo n >opq/new
chown -h 7:8 link; mkdir -p new/deep; ln d/one new/hard; ln -s /x new/soft; mkfifo -m 600 new/fifo
mknod new/null c 1 3; dd if=/dev/urandom of=new/big bs=1M count=3 status=none
truncate -s 9M new/hole; printf x | dd of=new/hole bs=1 seek=5000000 conv=notrunc status=none
touch -d 1960-01-01 new/old; touch -d 2001-02-03T04:05:06.789 new/deep d/two; mkdir etc
touch etc/hosts etc/mine; setfattr -n user.note -v hello new/big; chown 3000000:1 new/old
"""


@pytest.fixture
def base(store: Store) -> Image:
    return import_rootfs(store, io.BytesIO(BASE), "base:1")


@pytest.fixture
def upper(base: Image, tmp_path: Path, store: Store) -> Upper:
    """What SCRIPT leaves in an upperdir over the base image."""
    home = Path(store.root, "box")
    for name in ("upper", "work", "merged"):
        (home / name).mkdir(parents=True)
    lowers = base.layer_directories()
    mount_overlay(list(reversed(lowers)), f"{home}/upper", f"{home}/work", f"{home}/merged")
    try:
        script = SCRIPT if shutil.which("setfattr") else SCRIPT.replace("setfattr", ": setfattr")
        subprocess.run(["sh", "-euc", script], cwd=home / "merged", check=True)
        with socket.socket(socket.AF_UNIX) as server:
            os.symlink(home / "merged/new", tmp_path / "new")
            server.bind(str(tmp_path / "new/socket"))
    finally:
        unmount(f"{home}/merged", MNT_DETACH)
    return Upper(f"{home}/upper", lowers)


def listing(top: str) -> dict[str, tuple[object, ...]]:
    """All that a layer keeps of each file below a directory."""
    found: dict[str, tuple[object, ...]] = {}
    for path in Path(top).rglob("*"):
        status = path.lstat()
        kind = stat.S_IFMT(status.st_mode)
        if kind == stat.S_IFCHR and not status.st_rdev:
            found[str(path.relative_to(top))] = ("whiteout",)
            continue
        found[str(path.relative_to(top))] = (
            status.st_mode, status.st_uid, status.st_gid, status.st_rdev, status.st_mtime_ns,
            status.st_nlink if kind == stat.S_IFREG else 0,
            hashlib.sha256(path.read_bytes()).hexdigest() if kind == stat.S_IFREG else "",
            os.readlink(path) if kind == stat.S_IFLNK else "",
            {n: os.getxattr(path, n, follow_symlinks=False)
             for n in os.listxattr(path, follow_symlinks=False)},
        )  # fmt: skip
    return found


def unpacked_again(layer: StagedLayer) -> StagedLayer:
    return unpack_layer(rebuild_archive(layer.path), f"{layer.path}-again", diff_id=layer.diff_id)


@pytest.mark.parametrize("take", [False, True])
def test_layer_is_what_its_archive_unpacks_to(store: Store, upper: Upper, take: bool) -> None:
    path = f"{store.root}/staging/one"
    seen: list[int] = []
    with upper as own:
        layer = layer_of_upper(own, path, take=take, progress=lambda _, done, __: seen.append(done))
    again = unpacked_again(layer)
    mine = listing(f"{path}/diff")
    assert mine == listing(f"{again.path}/diff")
    assert Path(path, "layer.json").read_text() == Path(again.path, "layer.json").read_text()
    assert {"etc/mine", "new/hard", "gone", "opq/new"} <= mine.keys()
    assert not {"etc/hosts", "new/socket"} & mine.keys()
    assert "trusted.overlay.opaque" in os.listxattr(f"{path}/diff/opq")
    assert seen == sorted(seen) and seen[-1] > 12_000_000
    hole = os.stat(f"{path}/diff/new/hole")
    assert hole.st_blocks * 512 < 1 << 20


def test_taken_and_copied_are_one_layer(store: Store, upper: Upper) -> None:
    with upper as own:
        copied = layer_of_upper(own, f"{store.root}/staging/copied", take=False)
        assert os.path.exists(f"{own.path}/new/socket")
        taken = layer_of_upper(own, f"{store.root}/staging/taken", take=True)
    assert not os.path.exists(upper.path)
    assert copied.diff_id == taken.diff_id
    assert listing(f"{copied.path}/diff") == listing(f"{taken.path}/diff")


def test_taken_files_are_the_very_files(store: Store, upper: Upper) -> None:
    inode = os.stat(f"{upper.path}/new/big").st_ino
    with upper as own:
        layer = layer_of_upper(own, f"{store.root}/staging/taken", take=True)
    assert os.stat(f"{layer.path}/diff/new/big").st_ino == inode


def test_file_that_shrinks_while_it_is_copied_is_a_conflict(store: Store, upper: Upper) -> None:
    with upper as own:
        walk = own.walk()

        def shrinking():  # type: ignore[no-untyped-def]
            for entry in walk:
                if entry.path == b"new/big":
                    os.truncate(f"{own.path}/new/big", 10)
                yield entry

        own.walk = shrinking  # type: ignore[method-assign]
        with pytest.raises(Conflict, match="changed while it was read"):
            layer_of_upper(own, f"{store.root}/staging/x", take=False)


def test_tree_deeper_than_descriptors_go_is_walked(store: Store, base: Image) -> None:
    top = f"{store.root}/deep"
    os.makedirs(f"{top}/" + "d/" * 700)
    Path(top, *["d"] * 700, "end").write_bytes(b"x")
    with Upper(top, base.layer_directories()) as own:
        before = len(os.listdir("/proc/self/fd"))
        layer = layer_of_upper(own, f"{store.root}/staging/deep", take=False)
        assert len(os.listdir("/proc/self/fd")) == before
    assert Path(layer.path, "diff", *["d"] * 700, "end").read_bytes() == b"x"


def test_upper_of_another_file_system_is_an_error_in_words(store: Store, base: Image) -> None:
    os.mkdir(other := f"/dev/shm/md-upper-{os.getpid()}")
    try:
        with (
            Upper(other, base.layer_directories()) as own,
            pytest.raises(StoreError, match="cross"),
        ):
            layer_of_upper(own, f"{store.root}/staging/x", take=True)
    finally:
        shutil.rmtree(other)


def test_images_of_taken_layers_save_as_they_are(store: Store, upper: Upper, base: Image) -> None:
    with upper as own:
        layer = layer_of_upper(own, f"{store.root}/staging/taken", take=True)
    archive = b"".join(rebuild_archive(layer.path))
    assert f"sha256:{hashlib.sha256(archive).hexdigest()}" == layer.diff_id
    assert ImageStore(store).resolve("base:1").id == base.id
