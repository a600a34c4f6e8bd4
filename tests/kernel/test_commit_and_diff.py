"""`diff` and `commit`, held against the real docker on the same operations."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from minidock.engine.image.archive import import_rootfs, load
from minidock.engine.image.commit import commit
from minidock.engine.image.diff import changes
from minidock.engine.image.image import Image
from minidock.engine.image.images import ImageStore
from minidock.engine.image.save import save
from minidock.errors import Conflict, UsageError
from minidock.kernel.mount import MNT_DETACH, unmount
from minidock.kernel.overlay import mount_overlay
from minidock.paths import Store
from support import archives
from support.archives import directory, file, symlink
from support.docker_daemon import Docker

# One worker for all that share the docker daemon's names.
pytestmark = [pytest.mark.root, pytest.mark.xdist_group("docker images")]

CONFIG = {"Hostname": "h", "Env": ["A=1"], "Cmd": ["sh", "-c", "true"], "Image": "md-base:1"}
UPPER_LAYER = archives.layer(
    directory("d"), file("d/one", b"1", mtime=1), file("d/two", b"2"), directory("d/sub"),
    file("d/sub/x", b"x"), directory("e"), file("e/f", b"f"), file("gone", b"g"),
    directory("opq"), file("opq/old1"), file("opq/old2"), symlink("link", "d/one"),
    file("whited", b"w"), directory("emptied"), file("emptied/x"), file("size", b"s" * 10),
)  # fmt: skip
TOP_LAYER = archives.layer(file(".wh.whited"), directory("emptied"), file("emptied/.wh..wh..opq"))

# What is done in a container, and then compared. Each runs in a container of its own.
SCRIPTS = {
    "nothing": "true",
    "add": "mkdir -p /new/deep/er; echo x > /new/deep/f; ln -s f /new/deep/l; ln /new/deep/f /n2",
    "change": "echo more >> /d/one; chmod 600 /d/two; touch -t 200001010000 /e/f",
    "same content again": "cat /size > /tmpf; cat /tmpf > /size; rm /tmpf",
    "delete": "rm -r /d/sub /gone /e/f",
    "replace a directory": "rm -r /opq; mkdir /opq; echo n > /opq/new; echo o > /opq/old1",
    "a directory becomes a file": "rm -r /d; echo now > /d",
    "a file becomes a directory": "rm /gone; mkdir /gone; touch /gone/in",
    "touch a directory": "touch /d; mkdir /d/t; rmdir /d/t",
    "directory metadata": "chmod 700 /d; chown 3:4 /e",
    "add and delete again": "touch /a /d/a; rm /a /d/a",
    "what a lower layer hid": "echo again > /whited; touch /emptied/x /emptied/y",
    "rename": "mv /gone /went; mv /d/one /e/one",
    "nodes": "mkfifo /fifo; mknod /null c 1 3; chmod 4755 /size; chown 7:8 /link",
    "etc": "mkdir -p /etc; echo x > /etc/own",
    "names": "touch '/with space' '/-dash' '/tab\t' '/.hidden'",
}


class Box:
    """A container without a runtime: an overlay on an image's layers, and chroot."""

    def __init__(self, store: Store, image: Image) -> None:
        self.store = store
        self.image = image
        self.id = os.urandom(32).hex()
        self.paths = store.container(self.id)
        for path in (self.paths.upper, self.paths.work, self.paths.merged):
            os.makedirs(path)

    def run(self, script: str) -> None:
        lowers = list(reversed(self.image.layer_directories()))
        mount_overlay(lowers, self.paths.upper, self.paths.work, self.paths.merged)
        try:
            subprocess.run(["chroot", self.paths.merged, "/bin/sh", "-c", script], check=True)
        finally:
            unmount(self.paths.merged, MNT_DETACH)

    def listing(self) -> list[tuple[object, ...]]:
        """All files of the tree that the container sees, with what a layer keeps of them."""
        lowers = list(reversed(self.image.layer_directories()))
        mount_overlay(lowers, self.paths.upper, self.paths.work, self.paths.merged)
        found = []
        try:
            for path in sorted(Path(self.paths.merged).rglob("*")):
                status = path.lstat()
                content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
                link = os.readlink(path) if path.is_symlink() else ""
                found.append(
                    (str(path.relative_to(self.paths.merged)), status.st_mode, status.st_uid,
                     status.st_gid, status.st_rdev, int(status.st_mtime), content, link)
                )  # fmt: skip
        finally:
            unmount(self.paths.merged, MNT_DETACH)
        return found

    def changes(self) -> list[tuple[str, str]]:
        return changes(self.paths.upper, self.image.layer_directories())

    def document(self, **config: Any) -> dict[str, Any]:
        return {"Id": self.id, "Image": self.image.id, "Config": {**CONFIG, **config}}


@pytest.fixture
def base_archive(busybox_tar: Path) -> bytes:
    layers = [busybox_tar.read_bytes(), UPPER_LAYER, TOP_LAYER]
    return archives.docker_archive(layers, tags=["md-base:1"])


@pytest.fixture
def base(store: Store, base_archive: bytes) -> Image:
    load(store, io.BytesIO(base_archive))
    return ImageStore(store).resolve("md-base:1")


@pytest.fixture
def in_docker(docker: Docker, base_archive: bytes) -> Iterator[Callable[[str], str]]:
    """Runs a script in a container of the real docker; returns the container's id."""
    docker.ok("load", stdin=base_archive)
    made = []

    def run(script: str) -> str:
        identity = docker.ok("create", "--network", "none", "md-base:1", "/bin/sh", "-c", script)
        made.append(identity)
        docker.ok("start", "-a", identity)
        return identity

    yield run
    docker.ok("rm", "-f", *made)


def _docker_changes(docker: Docker, identity: str) -> list[tuple[str, str]]:
    """By the API, as the command line breaks its lines at odd names; sorted as ours."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(docker.socket))
    request = f"GET /v1.45/containers/{identity}/changes HTTP/1.0\r\nHost: d\r\n\r\n"
    connection.sendall(request.encode())
    answer = b"".join(iter(lambda: connection.recv(65536), b""))
    connection.close()
    found = json.loads(answer.partition(b"\r\n\r\n")[2]) or []
    lines = [("CAD"[change["Kind"]], change["Path"]) for change in found]
    return sorted(lines, key=lambda line: line[1].split("/"))


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_diff_and_committed_layer_are_dockers(
    store: Store, base: Image, docker: Docker, in_docker: Callable[[str], str], script: str,
    tmp_path: Path,
) -> None:  # fmt: skip
    box = Box(store, base)
    box.run(script)
    identity = in_docker(script)
    assert box.changes() == _docker_changes(docker, identity)

    image = commit(store, box.document(), "md-mine:1")
    with (tmp_path / "ours.tar").open("wb") as stream:
        save(store, ["md-mine:1"], stream)
    docker.ok("commit", identity, "md-theirs:1")
    docker.ok("save", "-o", str(tmp_path / "theirs.tar"), "md-theirs:1")
    assert _top_layer(tmp_path / "ours.tar") == _top_layer(tmp_path / "theirs.tar")

    docker.ok("load", "-i", str(tmp_path / "ours.tar"))
    assert docker.ok("image", "inspect", "-f", "{{.Id}}", "md-mine:1") == image.id
    docker.ok("rmi", "md-theirs:1", "md-mine:1")


def _top_layer(path: Path) -> list[tuple[object, ...]]:
    """The last layer's entries, without their times."""
    with tarfile.open(path) as outer:
        table = json.load(outer.extractfile("manifest.json"))  # type: ignore[arg-type]
        layers = table[0]["Layers"]
        if len(layers) == 3:  # nothing was committed
            return []
        layer = tarfile.open(fileobj=outer.extractfile(layers[-1]))
        return sorted(
            (
                e.name,
                e.type,
                e.mode,
                e.uid,
                e.gid,
                e.size,
                e.devmajor,
                e.devminor,
                e.linkname if e.issym() or e.islnk() else "",
            )
            for e in layer
        )


def test_committed_image_shows_what_the_container_showed(store: Store, base: Image) -> None:
    box = Box(store, base)
    for name in ("add", "change", "replace a directory", "names", "nodes", "delete"):
        box.run(SCRIPTS[name])
    again = Box(store, commit(store, box.document()))
    assert again.listing() == box.listing()


def test_commit_config_is_the_containers_with_the_changes(store: Store, base: Image) -> None:
    box = Box(store, base)
    box.run("touch /x")
    image = commit(
        store, box.document(Labels={"l": "1"}), "c:1", author="me", message="why",
        changes=["ENV B=2", 'CMD ["x"]', "LABEL m=2", "EXPOSE 80", "USER 7"],
    )  # fmt: skip
    config = image.config["config"]
    assert config["Env"] == ["A=1", "B=2"]
    assert config["Cmd"] == ["x"]
    assert config["Labels"] == {"l": "1", "m": "2"}
    assert config["ExposedPorts"] == {"80/tcp": {}}
    assert config["User"] == "7"
    assert config["Hostname"] == "h"
    assert image.config["history"][-1]["created_by"] == "sh -c true"
    assert image.config["history"][-1]["comment"] == "why"
    assert image.parent == base.id
    assert image.inspect()["Comment"] == "why"
    assert image.inspect()["Author"] == "me"


def test_commit_of_nothing_adds_no_layer(store: Store, base: Image) -> None:
    image = commit(store, Box(store, base).document(), "same:1")
    assert image.chain_ids == base.chain_ids
    assert image.config["history"][-1]["empty_layer"] is True


def test_mount_points_that_the_start_makes_are_no_changes(store: Store) -> None:
    bare = import_rootfs(store, io.BytesIO(archives.layer(directory("etc"), file("etc/x"))), "b:1")
    box = Box(store, bare)
    for name in ("dev", "proc", "sys", "etc"):
        os.mkdir(f"{box.paths.upper}/{name}")
    for name in ("etc/hosts", "etc/hostname", "etc/resolv.conf"):
        Path(box.paths.upper, name).touch()
    assert box.changes() == []
    assert commit(store, box.document()).chain_ids == bare.chain_ids
    Path(box.paths.upper, "etc/mine").touch()
    assert box.changes() == [("C", "/etc"), ("A", "/etc/mine")]


def test_commit_keeps_attributes_and_leaves_sockets_out(store: Store, base: Image) -> None:
    box = Box(store, base)
    tool = Path(box.paths.upper, "tool")
    tool.write_bytes(b"#!")
    capability = b"\x01\x00\x00\x02\x00\x20" + bytes(14)
    os.setxattr(tool, "security.capability", capability)
    os.setxattr(tool, "user.note", b"\xff\x00\n=")
    os.setxattr(tool, "trusted.overlay.origin", b"x")
    upper = os.open(box.paths.upper, os.O_PATH)  # its path is too long for a socket's
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"/proc/self/fd/{upper}/socket")
    os.close(upper)
    image = commit(store, box.document())
    top = Path(image.layer_directories()[-1])
    assert os.listdir(top) == ["tool"]
    assert os.getxattr(top / "tool", "security.capability") == capability
    assert os.getxattr(top / "tool", "user.note") == b"\xff\x00\n="
    assert "trusted.overlay.origin" not in os.listxattr(top / "tool")


def test_commit_survives_names_and_numbers_that_need_pax(store: Store, base: Image) -> None:
    box = Box(store, base)
    folder = Path(box.paths.upper, *["long-directory-name"] * 12)
    folder.mkdir(parents=True)
    long = folder / ("f" * 200)
    long.write_bytes(b"x")
    os.chown(long, 3_000_000, 4_000_000)
    os.link(long, folder / "hard")
    os.symlink("t" * 300, folder / "soft")
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9")).touch()
    top = Path(commit(store, box.document()).layer_directories()[-1], *["long-directory-name"] * 12)
    copied = (top / ("f" * 200)).stat()
    assert (copied.st_uid, copied.st_gid, copied.st_nlink) == (3_000_000, 4_000_000, 2)
    assert os.readlink(top / "soft") == "t" * 300
    assert b"caf\xe9" in os.listdir(os.fsencode(top))


def test_commit_refuses_a_file_that_would_become_a_whiteout(store: Store, base: Image) -> None:
    box = Box(store, base)
    Path(box.paths.upper, ".wh.d").touch()
    with pytest.raises(Conflict, match="an image layer cannot represent"):
        commit(store, box.document(), "x:1")
    assert os.listdir(store.staging) == []


def test_commit_checks_name_and_changes_before_anything_is_read(store: Store, base: Image) -> None:
    document = {"Id": "0" * 64, "Image": base.id, "Config": CONFIG}
    with pytest.raises(UsageError):
        commit(store, document, "UPPER")
    with pytest.raises(UsageError):
        commit(store, document, "x:1", changes=["RUN x"])


def test_commit_never_reads_through_what_a_container_put_in_the_way(
    store: Store, base: Image, tmp_path: Path
) -> None:
    """A directory that becomes a link while it is walked, a file that becomes a FIFO."""
    from minidock.engine.image.upper import Upper

    (tmp_path / "secret").write_bytes(b"s")
    box = Box(store, base)
    upper = Path(box.paths.upper)
    (upper / "dir").mkdir()
    (upper / "dir/secret").write_bytes(b"x")
    (upper / "file").write_bytes(b"x")
    with Upper(str(upper), []) as own:
        entries = {entry.path: entry for entry in own.walk()}
        os.rename(upper / "dir", upper / "was")
        os.symlink(tmp_path, upper / "dir")
        os.unlink(upper / "file")
        os.mkfifo(upper / "file")
        with pytest.raises(Conflict, match="changed while it was read"):
            own.open_file(entries[b"dir/secret"])
        with pytest.raises(Conflict, match="changed while it was read"):
            own.open_file(entries[b"file"])
