"""Where a build's files come from: a folder, a pipe, a URL, a repository; and what is not seen."""

from __future__ import annotations

import functools
import http.server
import io
import os
import stat
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.building import build, content, context, files
from support.command import Minidock

pytestmark = pytest.mark.root


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and the URL under which a web server of the test's own serves it."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def _tar(**members: str) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for name, text in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.uid, info.mode = len(text), 1000, 0o640
            tar.addfile(info, io.BytesIO(text.encode()))
    return archive.getvalue()


def test_ignored_files_are_not_there(minidock: Minidock, tmp_path: Path) -> None:
    folder = context(
        tmp_path / "context",
        "FROM scratch\nCOPY . /all/\n",
        _DOT_dockerignore="# all but\n*\n!src\nsrc/*.o\n!src/keep.o\n",
        src__main_DOT_c="",
        src__main_DOT_o="",
        src__keep_DOT_o="",
        other="",
    )
    build(minidock, "-t", "ignoring", folder)
    assert set(files(minidock, "ignoring", tmp_path)) == {
        "all", "all/src", "all/src/main.c", "all/src/keep.o",
    }  # fmt: skip
    (tmp_path / "context/Dockerfile").write_text("FROM scratch\nCOPY other /\n")
    done = minidock("build", folder)
    assert done.code == 1
    assert '"/other": not found' in done.stderr
    assert ".dockerignore" in done.stderr


def test_a_dockerfile_of_another_name_has_an_ignore_file_of_its_own(
    minidock: Minidock, tmp_path: Path
) -> None:
    folder = context(
        tmp_path / "context",
        "",
        Other="FROM scratch\nCOPY . /\n",
        Other_DOT_dockerignore="*\n!a\n",
        _DOT_dockerignore="a\n",
        a="",
        b="",
    )
    build(minidock, "-t", "other", "-f", f"{folder}/Other", folder)
    assert set(files(minidock, "other", tmp_path)) == {"a"}


def test_files_of_a_context_belong_to_root(minidock: Minidock, tmp_path: Path) -> None:
    folder = context(tmp_path / "context", "FROM scratch\nCOPY . /\n", dir__file="")
    for path in ("dir", "dir/file"):
        os.chown(f"{folder}/{path}", 1234, 5678)
    build(minidock, "-t", "owners", folder)
    found = files(minidock, "owners", tmp_path)
    assert {(info.uid, info.gid) for info in found.values()} == {(0, 0)}


def test_links_in_a_context_lead_nowhere_else(minidock: Minidock, tmp_path: Path) -> None:
    folder = context(tmp_path / "context", "FROM scratch\nCOPY escape /\n", inside="x")
    (tmp_path / "outside").write_text("secret")
    os.symlink(f"../{tmp_path.name}/outside", f"{folder}/escape")
    assert minidock("build", folder).code == 1
    (tmp_path / "context/Dockerfile").write_text("FROM scratch\nCOPY ../outside /\n")
    assert minidock("build", folder).code == 1
    (tmp_path / "context/Dockerfile").write_text("FROM scratch\nCOPY ../inside /\n")
    build(minidock, "-t", "inside", folder)
    assert content(minidock, "inside", tmp_path, "inside") == "x"


@pytest.mark.parametrize("name", ["Dockerfile", ".dockerignore", "Dockerfile.dockerignore"])
@pytest.mark.parametrize("kind", ["link to the host", "link to a device", "fifo", "device"])
def test_what_is_no_file_of_the_context_is_refused_unread(
    minidock: Minidock, tmp_path: Path, name: str, kind: str
) -> None:
    folder = context(tmp_path / "context", "FROM scratch\nCOPY a /a\n", a="x")
    (tmp_path / "secret").write_text("FRM the host's secret\n!!!\n")
    place = Path(folder, name)
    place.unlink(missing_ok=True)
    if kind == "fifo":
        os.mkfifo(place)
    elif kind == "device":
        os.mknod(place, stat.S_IFCHR | 0o666, os.makedev(1, 5))
    else:
        place.symlink_to("/dev/zero" if kind == "link to a device" else tmp_path / "secret")
    done = minidock("build", folder)
    assert done.code == 1
    assert "secret" not in done.stderr
    assert f"failed to read {name.lower() if name == 'Dockerfile' else name}" in done.stderr
    assert done.stderr.count("minidock: ") == 1


def test_a_dockerfile_may_be_a_link_to_its_neighbour_or_lie_elsewhere(
    minidock: Minidock, tmp_path: Path
) -> None:
    folder = context(tmp_path / "context", "FROM scratch\nCOPY a /a\n", a="x", b="y")
    os.rename(f"{folder}/Dockerfile", f"{folder}/real")
    os.symlink("real", f"{folder}/Dockerfile")
    build(minidock, "-t", "linked", folder)
    (tmp_path / "elsewhere").write_text("FROM scratch\nCOPY b /b\n")
    build(minidock, "-t", "elsewhere", "-f", str(tmp_path / "elsewhere"), folder)
    assert set(files(minidock, "elsewhere", tmp_path)) == {"b"}
    os.symlink(tmp_path / "elsewhere", f"{folder}/outside")
    assert minidock("build", "-f", f"{folder}/outside", folder).code == 1  # as by Docker


def test_tar_on_stdin(minidock: Minidock, tmp_path: Path) -> None:
    archive = _tar(Dockerfile="FROM scratch\nCOPY . /\n", a="of the archive")
    build(minidock, "-t", "piped", "-", stdin=archive)
    assert content(minidock, "piped", tmp_path, "a") == "of the archive"
    other = _tar(**{"docker/File": "FROM scratch\nCOPY a /b\n", "a": "x"})
    build(minidock, "-t", "named", "-f", "docker/File", "-", stdin=other)
    assert set(files(minidock, "named", tmp_path)) == {"b"}


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.FIFOTYPE])
def test_hostile_tar_on_stdin_reaches_nothing(minidock: Minidock, kind: bytes) -> None:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        member = tarfile.TarInfo("Dockerfile")
        member.type, member.linkname = kind, "/etc/passwd"
        tar.addfile(member)
    done = minidock("build", "-", stdin=archive.getvalue())
    assert done.code == 1
    assert "failed to read dockerfile" in done.stderr
    assert "root:" not in done.stderr


def test_contexts_by_http(minidock: Minidock, tmp_path: Path, served: tuple[Path, str]) -> None:
    folder, url = served
    (folder / "Dockerfile.txt").write_text("FROM scratch\nCOPY <<a /\nalone\na\n")
    (folder / "context.tar.gz").write_bytes(_tar(Dockerfile="FROM scratch\nCOPY a /\n", a="tar"))
    build(minidock, "-t", "alone", f"{url}/Dockerfile.txt")
    assert content(minidock, "alone", tmp_path, "a") == "alone\n"
    build(minidock, "-t", "archived", f"{url}/context.tar.gz")
    assert content(minidock, "archived", tmp_path, "a") == "tar"
    done = minidock("build", f"{url}/nothing")
    assert done.code == 1
    assert "404" in done.stderr


def test_add_fetches_and_verifies(
    minidock: Minidock, tmp_path: Path, served: tuple[Path, str]
) -> None:
    folder, url = served
    (folder / "data.tar.gz").write_bytes(_tar(a="packed"))
    right = subprocess.run(
        ["sha256sum", folder / "data.tar.gz"], capture_output=True, text=True, check=True
    ).stdout.split()[0]
    context(
        tmp_path / "context",
        f"FROM scratch\nADD {url}/data.tar.gz /fetched/\n"
        f"ADD --checksum=sha256:{right} --chmod=644 {url}/data.tar.gz /named\n",
    )
    build(minidock, "-t", "fetched", str(tmp_path / "context"))
    found = files(minidock, "fetched", tmp_path)
    assert found["fetched/data.tar.gz"].mode == 0o600
    assert found["named"].mode == 0o644
    context(
        tmp_path / "context",
        f"FROM scratch\nADD --checksum=sha256:{'0' * 64} {url}/data.tar.gz /\n",
    )
    done = minidock("build", str(tmp_path / "context"))
    assert done.code == 1
    assert "digest mismatch" in done.stderr


def test_repositories(
    minidock: Minidock,
    tmp_path: Path,
    served: tuple[Path, str],
    require: Callable[[str], str],
) -> None:
    require("git")
    folder, url = served
    work = tmp_path / "work"
    context(
        work, "FROM scratch\nCOPY . /\n", sub__Dockerfile="FROM scratch\nCOPY b /\n", sub__b="b"
    )
    _git(work, "init", "-q", "-b", "main")
    _git(work, "add", "-A")
    _git(work, "commit", "-qm", "one")
    _git(work, "tag", "v1")
    (work / "later").write_text("")
    _git(work, "add", "-A")
    _git(work, "commit", "-qm", "two")
    _git(folder, "clone", "-q", "--bare", str(work), "r.git")
    _git(folder / "r.git", "update-server-info")
    build(minidock, "-t", "newest", f"{url}/r.git")
    assert set(files(minidock, "newest", tmp_path)) == {
        "Dockerfile", "later", "sub", "sub/Dockerfile", "sub/b",
    }  # fmt: skip
    build(minidock, "-t", "tagged", f"{url}/r.git#v1:sub")
    assert set(files(minidock, "tagged", tmp_path)) == {"b"}
    done = minidock("build", f"{url}/r.git#nope")
    assert done.code != 0
    assert "git" in done.stderr


def test_hostile_repositories_run_nothing_here(
    minidock: Minidock, tmp_path: Path, served: tuple[Path, str], require: Callable[[str], str]
) -> None:
    require("git")
    folder, url = served
    mark = tmp_path / "mark"
    context(
        tmp_path / "context",
        f"FROM scratch\nADD {url}/r.git#--upload-pack=touch${{IFS}}{mark} /\n",
    )
    assert minidock("build", str(tmp_path / "context")).code == 1
    inner, work = tmp_path / "inner", tmp_path / "work"
    for place in (inner, work):
        context(place, "FROM scratch\nCOPY . /\n")
        _git(place, "init", "-q")
    _git(inner, "add", "-A")
    _git(inner, "commit", "-qm", "of this machine only")
    _git(work, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(inner), "stolen")
    _git(work, "add", "-A")
    _git(work, "commit", "-qm", "one")
    _git(folder, "clone", "-q", "--bare", str(work), "r.git")
    _git(folder / "r.git", "update-server-info")
    done = minidock("build", f"{url}/r.git")
    assert done.code == 1
    assert "transport 'file' not allowed" in done.stderr
    assert not mark.exists()


def _git(folder: Path, *arguments: str) -> None:
    settings = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "safe.directory=*")
    subprocess.run(["git", *settings, "-C", folder, *arguments], check=True)


def test_no_dockerfile(minidock: Minidock, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = minidock("build", str(tmp_path / "empty"))
    assert done.code == 1
    assert "failed to read dockerfile: open Dockerfile: no such file" in done.stderr
