"""Images travel between minidock, docker, podman, buildah and skopeo, and stay the same image.

The same means: the same ID (the digest of the config), the same digests of the layers' archives,
and in a container the same files.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from support import machine, podman_engine
from support.command import Minidock
from support.docker_daemon import Docker

RING = "localhost/ring:1"  # with a domain: what podman adds to a bare name differs by the archive
pytestmark = pytest.mark.root

# What is hard about layers: a deleted file, an emptied directory, hard and symbolic links, owners,
# modes, a device, a name that needs PAX.
FILL = """
rm /bin/vi; mkdir -p /a/b; echo hi >/marker; chmod 1777 /a; ln /marker /hard; ln -s marker /soft
chown 5:3000000 /a/b; chmod 4711 /hard; rm -r /home; mkdir /home
touch -d "2001-02-03 04:05:06" /old; mkfifo /a/fifo; mknod /a/null c 1 3; touch /a/%s
""" % ("long-" * 30)


class Containers:
    """podman and buildah on one storage of this test's own."""

    def __init__(self, where: str) -> None:
        self.where = where
        # docker's configuration is a test's own, and may not be there; buildah insists on it.
        kept = {k: v for k, v in os.environ.items() if k != "DOCKER_CONFIG"}
        self._environment = {**kept, "PODMAN_IGNORE_CGROUPSV1_WARNING": "1"}
        self._podman = podman_engine.command(where)
        self._buildah = ["buildah", "--root", f"{where}/root", "--runroot", f"{where}/run"]

    def _run(self, program: list[str], *words: str | Path) -> str:
        done = subprocess.run(
            [*program, "--storage-driver", "overlay", *map(str, words)],
            capture_output=True,
            text=True,
            env=self._environment,
        )
        assert done.returncode == 0, f"{program[0]} {words}: {done.stderr}"
        return done.stdout.strip()

    def podman(self, *words: str | Path) -> str:
        return self._run(self._podman, *words)

    def buildah(self, *words: str | Path) -> str:
        return self._run(self._buildah, *words)

    def id_of(self, name: str) -> str:
        found = self.podman("image", "inspect", "--format", "{{.Id}}", name)
        return f"sha256:{found.removeprefix('sha256:')}"


@pytest.fixture
def containers(require: Callable[[str], str]) -> Iterator[Containers]:
    require("podman")
    require("buildah")
    where = tempfile.mkdtemp(prefix="exchange", dir="/var/tmp")
    try:
        yield Containers(where)
    finally:
        machine.unmount_below(where)
        shutil.rmtree(where)


@pytest.fixture
def skopeo(require: Callable[[str], str]) -> Callable[..., None]:
    program = require("skopeo")

    def copy(*words: str) -> None:
        subprocess.run([program, "--insecure-policy", "copy", "-q", *words], check=True)

    return copy


@pytest.fixture
def image(minidock: Minidock, busybox_image: str) -> str:
    """An image RING in minidock's store; returns its ID."""
    minidock.ok("run", "--name", "filled", "--net", "none", busybox_image, "sh", "-c", FILL)
    minidock.ok("commit", "-c", 'CMD ["cat", "/marker"]', "filled", RING)
    minidock.ok("tag", busybox_image, "localhost/busybox")
    minidock.ok("rm", "filled")
    return id_of(minidock, RING)


def id_of(minidock: Minidock, name: str) -> str:
    return minidock.ok("image", "inspect", "-f", "{{.Id}}", name)


def layers_of(minidock: Minidock) -> list[str]:
    found: list[str] = json.loads(
        minidock.ok("image", "inspect", "-f", "{{json .RootFS.Layers}}", RING)
    )
    return found


def files(archive: Path) -> dict[str, tuple[object, ...]]:
    """What an exported file system's archive holds, but for what starting a container left."""
    left = {"dev", "dev/console", "dev/pts", "dev/shm", "etc", "etc/hostname", "etc/hosts",
            "etc/mtab", "etc/resolv.conf", "proc", "sys", ".dockerenv"}  # fmt: skip
    with tarfile.open(archive) as tar:
        return {
            e.name: (
                e.type, e.mode, e.uid, e.gid, e.size, e.mtime, e.linkname, e.devmajor, e.devminor,
                tar.extractfile(e).read() if e.isreg() else b"",  # type: ignore[union-attr]
            )
            for e in tar if e.name not in left
        }  # fmt: skip


def test_an_image_goes_round_all_engines_and_comes_back_the_same(
    minidock: Minidock, image: str, docker: Docker, containers: Containers,
    skopeo: Callable[..., None], tmp_path: Path,
) -> None:  # fmt: skip
    path = [tmp_path / f"{n}.tar" for n in range(5)]
    minidock.ok("save", "-o", str(path[0]), RING)

    docker.ok("load", "-i", str(path[0]))
    assert docker.ok("image", "inspect", "-f", "{{.Id}}", RING) == image
    docker.ok("save", "-o", str(path[1]), RING)
    docker.ok("rmi", RING)

    containers.podman("load", "-i", path[1])
    assert containers.id_of(RING) == image
    containers.buildah("push", RING, f"oci-archive:{path[2]}:{RING}")

    skopeo(f"oci-archive:{path[2]}:{RING}", f"docker-archive:{path[3]}:{RING}")
    minidock.ok("rmi", RING)
    assert minidock.ok("load", "-i", str(path[3])) == f"Loaded image: {RING}"
    assert id_of(minidock, RING) == image
    assert minidock.ok("run", "--rm", "--net", "none", RING) == "hi"
    minidock.ok("save", "-o", str(path[4]), RING)
    assert path[4].read_bytes() == path[0].read_bytes()


def test_all_that_podman_and_buildah_save_loads(
    minidock: Minidock, image: str, containers: Containers, tmp_path: Path
) -> None:
    minidock.ok("save", "-o", str(tmp_path / "in.tar"), RING, "localhost/busybox")
    containers.podman("load", "-i", tmp_path / "in.tar")
    name = RING
    ways = {
        "docker-archive": ("save", "--format", "docker-archive", "-o"),
        "oci-archive": ("save", "--format", "oci-archive", "-o"),
        "several": ("save", "-m", "-o"),
    }
    layers = layers_of(minidock)
    archives = []
    for way, words in ways.items():
        archives.append(tmp_path / f"{way}.tar")
        more = ["localhost/busybox:latest"] if way == "several" else []
        containers.podman(*words, archives[-1], name, *more)
    for kind in ("oci-archive", "docker-archive"):
        archives.append(tmp_path / f"buildah-{kind}.tar")
        containers.buildah("push", name, f"{kind}:{archives[-1]}:{RING}")
    archives.append(tmp_path / "zstd.tar")
    containers.buildah(
        "push", "--compression-format", "zstd", name, f"oci-archive:{archives[-1]}:{RING}"
    )
    containers.podman("save", "--format", "oci-dir", "-o", tmp_path / "layout", name)
    archives.append(tmp_path / "layout.tar")
    with tarfile.open(archives[-1], "w") as tar:
        tar.add(tmp_path / "layout", arcname=".")
    for archive in archives:
        minidock.ok("rmi", "-f", RING, "localhost/busybox")
        assert f"Loaded image: {RING}" in minidock.ok("load", "-i", str(archive)), archive
        assert layers_of(minidock) == layers, archive
        if archive.stem.endswith(("docker-archive", "several")):
            # In OCI's form, they rewrite the config: another ID.
            assert id_of(minidock, RING) == image, archive
        assert minidock.ok("run", "--rm", "--net", "none", RING) == "hi", archive


def test_what_buildah_and_podman_make_runs_here(
    minidock: Minidock, image: str, containers: Containers, tmp_path: Path
) -> None:
    minidock.ok("save", "-o", str(tmp_path / "in.tar"), RING)
    containers.podman("load", "-i", tmp_path / "in.tar")
    working = containers.buildah("from", "--pull-never", RING)
    (tmp_path / "note").write_text("from buildah\n")
    containers.buildah("copy", working, tmp_path / "note", "/note")
    containers.buildah("config", "--cmd", '["cat", "/marker", "/note"]', working)
    for format in ("oci", "docker"):
        containers.buildah("commit", "-q", "--format", format, working, f"localhost/new:{format}")
        archive = tmp_path / f"{format}.tar"
        containers.podman("save", "--format", f"{format}-archive", "-o", archive, f"new:{format}")
        minidock.ok("load", "-i", str(archive))
        assert id_of(minidock, f"localhost/new:{format}") == containers.id_of(f"new:{format}")
        said = minidock.ok("run", "--rm", "--net", "none", f"localhost/new:{format}")
        assert said == "hi\nfrom buildah"
        assert len(minidock.ok("history", "-q", f"localhost/new:{format}").split()) == 3


def test_skopeo_reads_and_writes_each_form(
    minidock: Minidock, image: str, skopeo: Callable[..., None], tmp_path: Path
) -> None:
    saved = tmp_path / "in.tar"
    minidock.ok("save", "-o", str(saved), RING)
    layers = layers_of(minidock)
    assert len(layers) == 2
    sources = (f"docker-archive:{saved}:{RING}", f"oci-archive:{saved}:1")
    for number, source in enumerate(sources):
        for compression in ("gzip", "zstd"):
            out = tmp_path / f"{number}-{compression}.tar"
            skopeo("--dest-compress-format", compression, source, f"oci-archive:{out}:{RING}")
            minidock.ok("rmi", RING)
            minidock.ok("load", "-i", str(out))
            assert layers_of(minidock) == layers
            # From Docker's form to OCI's, skopeo rewrites the config: another ID.
            assert (id_of(minidock, RING) == image) == source.startswith("oci")


def test_what_docker_exports_minidock_imports_and_the_other_way(
    minidock: Minidock, image: str, docker: Docker, tmp_path: Path
) -> None:
    """The same script in the same image, exported by both: the same files."""
    minidock.ok("save", "-o", str(tmp_path / "in.tar"), RING)
    docker.ok("load", "-i", str(tmp_path / "in.tar"))
    script = "touch -d '2002-03-04 05:06:07' /etc /n; rm /old"
    seen = {}
    for name, engine in {"docker": docker, "minidock": minidock}.items():
        engine.ok("run", "--name", "ex", "--net", "none", RING, "sh", "-c", script)
        engine.ok("export", "-o", str(tmp_path / f"{name}.tar"), "ex")
        engine.ok("rm", "ex")
        seen[name] = files(tmp_path / f"{name}.tar")
    assert seen["minidock"] == seen["docker"]
    assert "n" in seen["docker"] and "old" not in seen["docker"]

    minidock.ok("import", "-c", "CMD cat /marker", str(tmp_path / "docker.tar"), "flat:1")
    docker.ok("import", "-c", "CMD cat /marker", str(tmp_path / "minidock.tar"), "flat:1")
    for engine in (docker, minidock):
        assert engine.ok("run", "--rm", "--net", "none", "flat:1") == "hi"
    docker.ok("rmi", "flat:1", RING)


def test_a_running_containers_files_are_exported_without_what_is_mounted(
    minidock: Minidock, busybox_image: str, tmp_path: Path
) -> None:
    run = ["run", "-d", "--name", "up", "--net", "none", "-v", "data:/data", "--tmpfs", "/t"]
    minidock.ok(*run, busybox_image, "sh", "-c", "echo v >/data/f; echo t >/t/f; exec sleep 1000")
    minidock.ok("exec", "up", "sh", "-c", "echo x >/here; rm -r /bin/vi")
    with minidock.start("export", "up") as exporting:
        out, error = exporting.communicate()
    assert exporting.returncode == 0, error
    (tmp_path / "up.tar").write_bytes(out)
    found = files(tmp_path / "up.tar")
    assert found["here"][-1] == b"x\n"
    assert {"data", "t"} <= found.keys()
    assert not {"data/f", "t/f", "bin/vi", "proc/1"} & found.keys()
    minidock.ok("rm", "-f", "up")


def test_export_that_fails_leaves_the_file_that_was_there(
    minidock: Minidock, busybox_image: str, tmp_path: Path
) -> None:
    out = tmp_path / "out.tar"
    out.write_text("before")
    answer = minidock("export", "-o", str(out), "nobody")
    assert answer.code == 1 and "No such container: nobody" in answer.stderr
    assert out.read_text() == "before"
    assert os.listdir(tmp_path) == ["out.tar"]
    minidock.ok("create", "--name", "made", busybox_image)
    minidock.ok("export", "-o", str(out), "made")
    assert out.stat().st_mode & 0o777 == 0o600
    assert "bin/busybox" in files(out)


def test_import_from_a_url(minidock: Minidock, busybox_tar: Path) -> None:
    handler = partial(SimpleHTTPRequestHandler, directory=str(busybox_tar.parent))
    handler.log_message = lambda *_: None  # type: ignore[attr-defined]
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/{busybox_tar.name}"
        said = minidock.ok("import", "-c", 'CMD ["echo", "fetched"]', url, "fetched:1")
        assert said.splitlines()[0] == f"Downloading from {url}"
        assert minidock.ok("run", "--rm", "--net", "none", "fetched:1") == "fetched"
        comment = minidock.ok("image", "inspect", "-f", "{{.Comment}}", "fetched:1")
        assert comment == f"Imported from {url}"
        answer = minidock("import", f"{url}.nosuch")
        assert answer.code == 1 and "404" in answer.stderr
        server.shutdown()
