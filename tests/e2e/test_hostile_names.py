"""No name that a command line takes leads out of the store, or costs a file of anybody's.

Each name goes to each command that takes one (in a short run, a fifth of the names); afterwards the
store, and a directory beside it, are looked at as the kernel has them.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from minidock.cli.main import run
from minidock.paths import Store
from support.command import Minidock
from support.patience import long

# One worker: a test's sentinel lies where another test looks for one that a name has made.
pytestmark = [pytest.mark.root, pytest.mark.xdist_group("hostile names")]

NAMES = [
    "..", "../", "../..", "../../..", "a/b", "a/", "/..", "//", "volumes/../..", "a/../../..", "~",
    "~/x", "x/../../sentinel", "../sentinel", "../../sentinel", "../../../sentinel", "..\n", "a\nb",
    "\n..", "..\t", " ..", ".. ", ".x", ".lock", "..x", "-", "_a", "é", "日本", "٠٠", "a\x7f",
    "a\x01", "%2e%2e", "..%2f", "*", "$HOME", "a;b", "`id`", "a@b\n", "\\..", "a" * 300, "../" * 50,
    "é" * 200,
]  # fmt: skip

# {} is the name; NAME alone may not be a valid value of any of these.
COMMANDS = [
    "create -v {}:/v busybox", "run -v {}:/v busybox true", "run -v {}:/v:nocopy busybox true",
    "create --mount type=volume,dst=/v,src={} busybox",
    "run --mount type=volume,dst=/v,src={} busybox true",
    "create -v kept:/v -v {}:/w busybox",
    "create --mount type=bind,dst=/v,src={} busybox", "create --name {} busybox",
    "create --volumes-from {} busybox", "volume create {}", "volume rm {}",
    "volume inspect {}", "network create {}", "network rm {}", "network inspect {}",
    "network connect {} kept", "network connect kept {}", "create --network container:{} busybox",
    "rm -f {}", "rename kept {}", "inspect {}", "cp {}:/etc/passwd -", "cp {}:/etc /tmp",
    "rmi {}", "tag busybox {}", "tag {} other:1", "commit {} x", "diff {}",
    "start {}", "stop {}", "kill {}", "restart {}", "pause {}", "unpause {}", "wait {}", "logs {}",
    "top {}", "port {}", "attach {}", "exec {} true", "update -m 9m {}", "export {}", "rename {} x",
    "stats --no-stream {}", "history {}", "save {}", "image inspect {}", "image make {}",
    "where {}", "ns {}", "explain {}", "explain --all {}", "explain --unfold {} kept",
    "explain kept --exec {}", "explain --network {}",
    "packet {} kept", "commit kept {}", "pull {}", "push {}", "load -i {}", "plan run {} true",
    "script run {} true", "create {} true", "run {} true", "run --rm --network {} busybox true",
    "create --ipc container:{} busybox", "create --pid container:{} busybox",
    "create --stop-signal {} busybox", "create --runtime {} busybox",
    "create --security-opt seccomp={} busybox", "create --env-file {} busybox",
    "create --label-file {} busybox", "create --pull always {} true", "create --restart {} busybox",
    "create --mount type={},dst=/v busybox", "volume create -d {}", "network create -d {} x",
    "plan run --name {} busybox", "script run --name {} busybox", "build --target {} {context}",
    "build -t {} {context}", "lab check --lab {}", "lab hint {}",
    "lab start {}", "create --gpus {} busybox", "create --log-driver {} busybox",
]  # fmt: skip

# Here a name may well be meant as it is: a directory, a file or a label within the container, or
# within a volume. What it says is then inside, and nothing outside of the store has changed.
INSIDE = [
    "run --rm --net none -w {} busybox true", "create -w {} busybox",
    "run --rm --net none --mount type=volume,src=kept,dst=/v,volume-subpath={} busybox true",
    "run --rm --net none -v kept:/{} busybox true",
    "run --rm --net none --tmpfs /{} busybox true", "run --rm --net none -v {} busybox true",
    "run --rm --net none -h {} busybox true", "run --rm --net none -u {} busybox true",
    "run --rm --net none --entrypoint {} busybox", "run --rm --net none busybox {}",
    "run --rm --net none --device /dev/null:/{} busybox true",
    "run --rm --net none --cgroup-parent {} busybox true", "run --rm --net none -e {} busybox true",
    "create --network {} busybox",
    "create --network kept --network-alias {} busybox", "create -l {} busybox",
    "create --network kept --link kept:{} busybox", "network create -l {} labelled",
    "cp kept:{} -", "cp kept:/{} -", "cp {context}/Dockerfile kept:{}", "cp {context} kept:/{}",
    "volume create --label {} labelled", "volume ls -f name={}", "ps -f name={}", "ps -f id={}",
    "ps -f label={}", "ps -f ancestor={}", "images -f reference={}", "network ls -f name={}",
    "ps --format {}", "events --since 1 --until 2 -f container={}", "search {}", "logout {}",
    "builder prune -f --filter id={}", "where kept:{}",
    "where busybox:{}", "packet kept --dns {}", "commit -m {} kept new", "commit -c {} kept new",
    "import -m {} {context}/empty.tar new", "build --build-arg {}=1 {context}",
    "build --label {}=1 {context}", "build --secret id={},src={context}/Dockerfile {context}",
    "build --build-context {}={context} {context}", "build --cache-from {} {context}",
]  # fmt: skip

# Here it is a file of who typed it: made or read where the path leads, and nowhere else.
FILES = [
    "create --cidfile {} busybox", "save -o {} busybox", "export -o {} kept",
    "cp kept:/etc/passwd {}",
    "build --iidfile {} {context}", "load -i {}", "import {} new", "create --env-file {} busybox",
    "cp {} kept:/tmp/", "build -f {} {context}", "build {}", "lab start 00-chroot {}",
    "lab check {}",
]  # fmt: skip


@pytest.fixture(autouse=True)
def no_cgroup_is_left() -> Iterator[None]:
    """`--cgroup-parent NAME` makes the cgroup NAME and leaves it, as docker does: it is removed."""
    root = Path("/sys/fs/cgroup")
    first = {name.strip("/").partition("/")[0] for name in NAMES if len(name) < 100}
    names = first - {"", ".", ".."}
    hierarchies = [root, *(each for each in root.iterdir() if each.is_dir())]
    absent = [path for each in hierarchies for name in names if not (path := each / name).exists()]
    yield
    for path in absent:
        for where, _, _ in os.walk(path, topdown=False):
            os.rmdir(where)


def look(directory: Path) -> list[str]:
    """All that is below a directory, but for locks and the record of events."""
    return [f"{path} {what}" for path, what in entries(directory).items()]


def entries(directory: Path) -> dict[str, str]:
    """The same: path -> what is there."""
    found = {}
    for path in sorted(directory.rglob("*")):
        if path.name in ("lock", ".lock", "monitor.lock") or "events.jsonl" in path.name:
            continue
        status = path.lstat()
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        found[str(path)] = f"{status.st_mode:o} {status.st_nlink} {hash(content)}"
    return found


def test_the_store_and_what_is_beside_it_outlive_every_name(
    store: Store,
    minidock: Minidock,
    busybox_image: str,
    scratch: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    around = Path(store.root).parent
    sentinel = around / "sentinel"
    sentinel.mkdir()
    try:
        for directory in (sentinel, Path(store.root), around):
            (directory / "sentinel").mkdir(exist_ok=True)
            (directory / "sentinel/file").write_text("somebody's")
        minidock.ok("volume", "create", "kept")
        Path(store.volume("kept"), "_data/file").write_text("data")
        minidock.ok("network", "create", "kept")
        minidock.ok("create", "--name", "kept", busybox_image, "true")
        minidock.ok("network", "inspect", "bridge", "host", "none")  # made at their first use
        minidock("build", "--target", "none", str(scratch / "context"))  # the same
        accepted: list[list[str]] = []
        changed: dict[str, list[list[str]]] = {}
        for template in COMMANDS:
            before = look(Path(store.root)), look(sentinel)
            for name in _some(template):
                if _is_good(template, name):
                    continue
                argv = _words(template, name, scratch)
                monkeypatch.setattr(sys, "argv", ["minidock", *argv])  # `script run` quotes it
                code = run(argv)
                said = capfd.readouterr().err
                assert "Traceback" not in said, argv
                if not template.startswith("rm -f") and not code:
                    accepted.append(argv)
                if argv[0] == "run":
                    assert code == 125, (argv, said)
            after = look(Path(store.root)), look(sentinel)
            gone = [sorted({*a} ^ {*b}) for a, b in zip(before, after, strict=True)]
            if gone != [[], []]:
                changed[template] = gone
        assert (changed, accepted) == ({}, [])
    finally:
        for path in sorted(sentinel.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        sentinel.rmdir()


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, far below one in which a name may climb; and no registry."""
    deep = tmp_path / "sentinel/a/b/c/d"
    deep.mkdir(parents=True)
    context = tmp_path / "context"
    context.mkdir()
    (context / "Dockerfile").write_text("FROM busybox\nCOPY Dockerfile /\n")
    (context / "empty.tar").write_bytes(bytes(1024))
    (tmp_path / "registries.json").write_text('{"blocked-registries": ["docker.io"]}')
    monkeypatch.setenv("MINIDOCK_CONFIG", str(tmp_path))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("HOME", str(deep))
    monkeypatch.chdir(deep)
    return tmp_path


def _some(template: str) -> list[str]:
    """A fifth of the names, others for each command line; all of them by `make long`."""
    return long(NAMES[zlib.crc32(template.encode()) % 5 :: 5], NAMES)


def _words(template: str, name: str, scratch: Path) -> list[str]:
    words = (word.replace("{context}", str(scratch / "context")) for word in shlex.split(template))
    return [word.replace("{}", name) for word in words]


def test_a_name_that_is_meant_for_the_inside_changes_nothing_outside(
    store: Store,
    minidock: Minidock,
    busybox_image: str,
    scratch: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    minidock.ok("volume", "create", "kept")
    minidock.ok("network", "create", "kept")
    minidock.ok("create", "--name", "kept", busybox_image, "true")
    host = [Path("/etc"), scratch]
    for template in INSIDE:
        before = [look(directory) for directory in host]
        for name in _some(template):
            argv = _words(template, name, scratch)
            run(argv)
            assert "Traceback" not in capfd.readouterr().err, argv
        assert [look(directory) for directory in host] == before, template


def test_a_name_of_a_file_is_that_file_and_no_other(
    store: Store,
    minidock: Minidock,
    busybox_image: str,
    scratch: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    minidock.ok("create", "--name", "kept", busybox_image, "true")
    around = Path(store.root).parent
    for template in FILES:
        for name in _some(template):
            argv = _words(template, name, scratch)
            if "/.." in f"/{name}" and ("lab" in argv or argv[-1] == name and argv[0] == "build"):
                continue  # a folder of a few levels: all of /tmp would be the context
            meant = os.path.normpath(os.path.join(os.getcwd(), name))
            if template.startswith("cp kept:") and not meant.startswith(str(scratch)):
                continue  # a directory of this machine, into which it would be copied
            before = entries(scratch)
            run(argv)
            assert "Traceback" not in capfd.readouterr().err, argv
            changed = {path for path, _ in {*before.items()} ^ {*entries(scratch).items()}}
            stray = {path for path in changed if not path.startswith(meant)}
            # A directory above it has one more link, where it or its parent is a new directory.
            assert {path for path in stray if not meant.startswith(f"{path}/")} == set(), argv
            _remove(meant, scratch)
    assert sorted(around.glob("sentinel*")) == []


def _remove(path: str, scratch: Path) -> None:
    """What a command made at a path of the scratch directory's depths."""
    deep = str(scratch / "sentinel/a/b/c/d")
    if os.path.commonpath([path, deep]) != deep or path == deep:
        return
    if os.path.isdir(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)


def _is_good(template: str, name: str) -> bool:
    """An absolute path may be a bind's source, one letter a drive, a/b an image's name; --mount
    ends with its line."""
    if " -v {}:" in template and len(name) == 1 and name.isalpha():
        return True
    if "--mount" in template and name.startswith("\n"):
        return True
    if template.startswith(("tag busybox", "commit kept", "build -t")):
        return name == "a/b"
    return name.startswith("/") and (" -v " in template or "type=bind" in template)
