"""Volumes on disk: names, and taking over an image's files with all that belongs to them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from minidock.engine.container import volumes
from minidock.engine.container.populate_volumes import populate_volume
from minidock.errors import DamagedFile, NotFound, UsageError
from minidock.paths import Store


def test_a_volume_is_made_once_and_removed_with_its_files(store: Store) -> None:
    made = volumes.create(store, "data", options={}, labels={"a": "1"})
    assert volumes.create(store, "data", options={}, labels={}) == made
    assert [volume["Name"] for volume in volumes.list(store)] == ["data"]
    Path(made["Mountpoint"], "file").write_text("x")
    volumes.remove(store, "data")
    assert volumes.list(store) == []
    assert not os.path.exists(store.volume("data"))
    with pytest.raises(NotFound, match="get data: no such volume"):
        volumes.remove(store, "data")
    volumes.remove(store, "data", force=True)


def test_a_file_beside_the_volumes_is_none(store: Store) -> None:
    volumes.create(store, "data", options={}, labels={})
    Path(store.volumes, "notes").write_text("somebody's")
    assert [volume["Name"] for volume in volumes.list(store)] == ["data"]


def test_a_directory_of_somebodys_is_neither_a_volume_nor_garbage(store: Store) -> None:
    Path(store.volumes, "backup").mkdir(parents=True)
    Path(store.volumes, "backup", "notes").write_text("somebody's")
    Path(store.volumes, "README").write_text("somebody's")
    Path(store.volumes, "half", "_data").mkdir(parents=True)
    assert volumes.list_garbage(store) == ["half"]
    assert volumes.list(store) == []


def test_an_empty_volume_without_its_document_stays_where_a_container_mounts_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("mounted", "alone"):
        volumes.create(store, name, options={}, labels={})
        os.unlink(f"{store.volume(name)}/volume.json")
    monkeypatch.setattr(volumes, "users_by_volume", lambda *_, **__: {"mounted": ["c" * 64]})
    assert volumes.list_garbage(store) == ["alone"]
    with pytest.raises(DamagedFile):
        volumes.inspect(store, "mounted")


@pytest.mark.parametrize(
    "name", ["x", "a/b", "..", "../x", ".hidden", "a b", "a\n", "-a", "a" * 256]
)
def test_names_that_could_be_paths_are_refused(store: Store, name: str) -> None:
    with pytest.raises(UsageError):
        volumes.create(store, name, options={}, labels={})
    with pytest.raises(NotFound):
        volumes.inspect(store, name)


def test_other_drivers_and_options_are_refused(store: Store) -> None:
    with pytest.raises(UsageError, match='plugin "nfs" not found'):
        volumes.create(store, "data", driver="nfs", options={}, labels={})
    for options, words in (
        ({"type": "tmpfs"}, "missing required option"),
        ({"o": "bind"}, "missing required option"),
        ({"device": "/srv"}, 'missing required option: "type"'),
        ({"size": "1m"}, "no quota support"),
        ({"colour": "blue"}, 'invalid option: "colour"'),
    ):
        with pytest.raises(UsageError, match=words):
            volumes.create(store, "data", options=options, labels={})
    assert volumes.list(store) == []


def image_directory(tmp_path: Path) -> Path:
    """A directory with one of each kind of file."""
    source = tmp_path / "image"
    (source / "sub/deep").mkdir(parents=True)
    (source / "file").write_text("content")
    os.link(source / "file", source / "sub/same")
    os.symlink("/etc/passwd", source / "link")
    os.mkfifo(source / "fifo")
    (source / "sparse").touch()
    os.truncate(source / "sparse", 50 << 20)
    with open(source / "sparse", "r+b") as file:
        file.seek(10 << 20)
        file.write(b"island")
    os.setxattr(source / "file", "user.note", b"kept")
    os.chmod(source / "sub", 0o2750)
    os.utime(source / "file", ns=(1, 1_000_000_007))
    os.chmod(source, 0o1777)
    return source


def test_an_empty_volume_takes_over_the_image_s_files(store: Store, tmp_path: Path) -> None:
    source = image_directory(tmp_path)
    volumes.create(store, "data", options={}, labels={})
    populate_volume(store, "data", str(source))
    data = Path(volumes.path(store, "data"))
    assert sorted(p.name for p in data.iterdir()) == ["fifo", "file", "link", "sparse", "sub"]
    assert (data / "file").read_text() == "content"
    assert (data / "file").stat().st_ino == (data / "sub/same").stat().st_ino
    assert os.readlink(data / "link") == "/etc/passwd"
    assert stat.S_ISFIFO((data / "fifo").lstat().st_mode)
    assert (data / "sparse").stat().st_blocks * 512 < 1 << 20
    assert (data / "sparse").read_bytes()[10 << 20 :][:6] == b"island"
    assert os.getxattr(data / "file", "user.note") == b"kept"
    assert stat.S_IMODE((data / "sub").stat().st_mode) == 0o2750
    assert stat.S_IMODE(data.stat().st_mode) == 0o1777
    assert (data / "file").stat().st_mtime_ns == 1_000_000_007
    assert sorted(os.listdir(store.volume("data"))) == [".lock", "_data", "volume.json"]


def test_a_volume_with_files_keeps_its_own(store: Store, tmp_path: Path) -> None:
    volumes.create(store, "data", options={}, labels={})
    Path(volumes.path(store, "data"), "mine").touch()
    populate_volume(store, "data", str(image_directory(tmp_path)))
    assert os.listdir(volumes.path(store, "data")) == ["mine"]


def test_a_copy_that_was_cut_short_is_made_again(store: Store, tmp_path: Path) -> None:
    volumes.create(store, "data", options={}, labels={})
    half = Path(store.volume("data"), "copying")
    half.mkdir()
    (half / "half a file").touch()
    populate_volume(store, "data", str(image_directory(tmp_path)))
    assert "file" in os.listdir(volumes.path(store, "data"))
    assert "half a file" not in os.listdir(volumes.path(store, "data"))


def test_a_copy_that_was_complete_is_finished(store: Store, tmp_path: Path) -> None:
    volumes.create(store, "data", options={}, labels={})
    done, data = Path(store.volume("data"), "copied"), Path(volumes.path(store, "data"))
    done.mkdir()
    (done / "second").touch()
    (data / "first").touch()
    populate_volume(store, "data", str(image_directory(tmp_path)))
    assert sorted(os.listdir(data)) == ["first", "second"]


@pytest.mark.root
def test_owners_devices_and_capabilities_come_along(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "image"
    source.mkdir()
    os.mknod(source / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    (source / "program").write_text("x")
    os.chown(source / "program", 5, 6)
    os.chmod(source / "program", 0o4755)
    capability = bytes.fromhex("0100000200200000" + "00" * 12)  # cap_net_raw+ep
    os.setxattr(source / "program", "security.capability", capability)
    volumes.create(store, "data", options={}, labels={})
    populate_volume(store, "data", str(source))
    data = Path(volumes.path(store, "data"))
    program = (data / "program").stat()
    assert (program.st_uid, program.st_gid, stat.S_IMODE(program.st_mode)) == (5, 6, 0o4755)
    assert os.getxattr(data / "program", "security.capability") == capability
    assert (data / "null").stat().st_rdev == os.makedev(1, 3)


def test_only_a_volume_made_for_a_container_goes_with_it(store: Store) -> None:
    """What a note names proves nothing: somebody may have made the volume in between."""
    one, other = "1" * 64, "2" * 64
    volumes.create(store, "somebodys", options={}, labels={})
    volumes.create(store, "anothers", options={}, labels={}, made_for=other)
    volumes.create(store, "ours", options={}, labels={}, made_for=one)
    volumes.create(store, "somebodys", options={}, labels={}, made_for=one)  # it is there already
    os.makedirs(store.containers, exist_ok=True)
    for name in ("somebodys", "anothers", "ours", "..", "../volumes", "", ".", "gone", "a/b"):
        volumes.undo_create(store, name, one)
    assert [volume["Name"] for volume in volumes.list(store)] == ["anothers", "somebodys"]
