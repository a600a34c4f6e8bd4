"""Names become paths only when they are names; trees are removed only below our own directories."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from minidock.engine.store.tree_removal import ScratchDirectory, remove_below, remove_tree
from minidock.errors import BadName, KernelError, NotOurs, StoreError
from minidock.kernel.path import open_beneath
from minidock.paths import Store

HOSTILE = [
    "", ".", "..", "../x", "a/b", "/etc", "a/../b", "a\0b", "a\n", ".hidden", "-a", "a b", "~",
    "a" * 256, "ä", "٠", "..\n", "a/", "*", "$HOME",
]  # fmt: skip
DIGEST = "sha256:" + "0a" * 32


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_not_a_name_never_becomes_a_path(store: Store, name: str) -> None:
    makers: list[Callable[[str], object]] = [
        store.volume, store.volume_users, store.network, store.container, store.name,
        store.blob, store.layer, store.build_step,
    ]  # fmt: skip
    for make in makers:
        with pytest.raises(BadName):
            make(name)


@pytest.mark.parametrize("digest", ["sha256:", "0a" * 31, "0A" * 32, DIGEST + "0", "sha512:" + "0"])
def test_a_digest_has_its_64_digits(store: Store, digest: str) -> None:
    for make in (store.blob, store.layer, store.build_step):
        assert make(DIGEST) == make(DIGEST.removeprefix("sha256:"))
        with pytest.raises(BadName):
            make(digest)


def test_only_what_lies_strictly_below_an_own_directory_is_removed(
    store: Store, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("somebody's")
    for own in store.own_directories[:-1]:
        if own != store.run:
            os.makedirs(own, exist_ok=True)
    os.makedirs(f"{store.volumes}/v/_data")
    os.symlink(outside, f"{store.volumes}/link")
    kept = sorted(tmp_path.rglob("*"))
    for path in (
        str(outside), store.root, store.volumes, f"{store.volumes}/", f"{store.volumes}/.",
        f"{store.volumes}/..", f"{store.volumes}/v/..", f"{store.volumes}/v/../..",
        f"{store.volumes}/../../outside", f"{store.volumes}//v", f"{store.volumes}x/v", "v", "/",
        "",
    ):  # fmt: skip
        with pytest.raises(NotOurs):
            remove_tree(store, path)
    with pytest.raises(OSError, match="symbolic links"):
        remove_tree(store, f"{store.volumes}/link/file")
    assert sorted(tmp_path.rglob("*")) == kept

    remove_tree(store, f"{store.volumes}/link")
    remove_tree(store, f"{store.volumes}/v")
    remove_tree(store, f"{store.volumes}/v")
    assert os.listdir(store.volumes) == []
    assert (outside / "file").read_text() == "somebody's"


def test_links_in_a_tree_go_and_not_what_they_lead_to(store: Store, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("x")
    tree = Path(store.staging, "tree")
    deep = tree
    for _ in range(300):
        deep = deep / "d"
        deep.mkdir(parents=True, exist_ok=True)
    (deep / "link").symlink_to(tmp_path)
    (tree / "link").symlink_to(tmp_path / "kept")
    remove_tree(store, str(tree))
    assert not tree.exists()
    assert (tmp_path / "kept").read_text() == "x"


def test_a_path_below_a_descriptor_is_relative_and_stays_there(tmp_path: Path) -> None:
    (tmp_path / "in/deep").mkdir(parents=True)
    inside = os.open(tmp_path / "in", os.O_PATH)
    try:
        for path in ("..", "/", "", ".", "../in", "deep/..", str(tmp_path)):
            with pytest.raises(NotOurs):
                remove_below(inside, path)
        remove_below(inside, "deep")
        remove_below(inside, "gone/deeper")
    finally:
        os.close(inside)
    assert os.listdir(tmp_path) == ["in"]


def test_a_made_directory_goes_with_its_block(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), ScratchDirectory(".probe-", str(tmp_path)) as made:
        assert os.stat(made.path).st_mode & 0o777 == 0o700
        Path(made.path, "a/b").mkdir(parents=True)
        remove_tree(made, f"{made.path}/a")
        assert os.listdir(made.path) == []
        with pytest.raises(NotOurs):
            remove_tree(made, made.path)
        raise ZeroDivisionError
    assert os.listdir(tmp_path) == []


def test_open_beneath_refuses_links_and_ways_out(tmp_path: Path) -> None:
    (tmp_path / "top/real").mkdir(parents=True)
    (tmp_path / "top/real/file").write_text("x")
    (tmp_path / "top/link").symlink_to("real")
    (tmp_path / "secret").write_text("s")
    (tmp_path / "top/out").symlink_to(tmp_path / "secret")
    top = os.open(tmp_path / "top", os.O_PATH | os.O_DIRECTORY)
    try:
        descriptor = open_beneath(top, "real/../real/file", os.O_RDONLY)
        assert os.read(descriptor, 9) == b"x"
        assert not os.get_inheritable(descriptor)
        os.close(descriptor)
        for path, number in (
            ("link/file", errno.ELOOP), ("out", errno.ELOOP), ("../secret", errno.EXDEV),
            (str(tmp_path / "secret"), errno.EXDEV), ("real/none", errno.ENOENT),
            ("real/file/x", errno.ENOTDIR),
        ):  # fmt: skip
            with pytest.raises(KernelError) as caught:
                open_beneath(top, path, os.O_RDONLY)
            assert caught.value.errno == number
        made = open_beneath(top, "new", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
        assert os.fstat(made).st_mode & 0o777 & ~0o640 == 0
        os.close(made)
    finally:
        os.close(top)


@pytest.mark.root
def test_what_is_mounted_in_a_tree_is_somebodys_and_stays(store: Store, tmp_path: Path) -> None:
    (tmp_path / "srv").mkdir()
    (tmp_path / "srv/precious").write_text("data")
    data = Path(store.volumes, "v/_data")
    data.mkdir(parents=True)
    subprocess.run(["mount", "--bind", tmp_path / "srv", data], check=True)
    try:
        with pytest.raises(StoreError, match="a file system is mounted there"):
            remove_tree(store, store.volume("v"))
    finally:
        subprocess.run(["umount", data], check=True)
    assert (tmp_path / "srv/precious").read_text() == "data"
