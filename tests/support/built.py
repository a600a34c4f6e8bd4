"""What a build came to: an image's files, config and history, out of what `save` writes.

And the cases that two builders are held side by side on: a folder each in tests/dockerfiles, with a
Dockerfile and its context, and perhaps

    arguments     further arguments of `build`, one a line; {context} and {url} are put in
    context.sh    makes in the context what git cannot keep: modes, owners, links, archives
    served/       what an HTTP server at {url} has

The line "#: …" of the Dockerfile says what the case is about. Cases "wrong-…" must fail.
"""

from __future__ import annotations

import functools
import hashlib
import http.server
import io
import json
import os
import re
import shutil
import subprocess
import tarfile
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CASES = Path(__file__).parent.parent / "dockerfiles"
_NOT_CONTEXT = ("arguments", "context.sh")
# The time of all files of a context is some day from 2001 on, and another one for each case: docker
# takes a file of the same name, size and time to be the one that it had from another context.
_OLD = 981173106
_OLD_SPAN = 10**8
_RECENT = 1_500_000_000  # times after this one are those of the build itself
_SHOWN_LINE = re.compile(r"^ *(\d+) \| >>>", re.MULTILINE)


class Case:
    """One folder of tests/dockerfiles."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name
        self.must_fail = path.name.startswith("wrong-")

    @property
    def about(self) -> str:
        """What the case is about: the line "#: …"."""
        dockerfiles = [p for p in (self.path / "Dockerfile", self.path / "sub/Other") if p.exists()]
        found = re.search(r"^\W?#: (.*?)\r?$", dockerfiles[0].read_text(), re.MULTILINE)
        return found[1] if found else "An empty Dockerfile"

    def prepare(self, context: Path) -> None:
        """Make the case's context in a new folder."""
        ignore = shutil.ignore_patterns(*_NOT_CONTEXT)
        shutil.copytree(self.path, context, ignore=ignore, symlinks=True)
        for path in [context, *context.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)
        if (self.path / "context.sh").exists():
            script = ["/bin/sh", "-eu", self.path / "context.sh"]
            subprocess.run(script, cwd=context, check=True, env={**os.environ, "LC_ALL": "C.UTF-8"})
        time = _OLD + zlib.crc32(self.name.encode()) % _OLD_SPAN
        for found in [*context.rglob("*"), context]:
            os.utime(found, (time, time), follow_symlinks=False)

    def arguments(self, context: Path, url: str) -> list[str]:
        file = self.path / "arguments"
        lines = file.read_text().splitlines() if file.exists() else []
        return [line.format(context=context, url=url) for line in lines]


def cases() -> list[Case]:
    return [Case(path) for path in sorted(CASES.iterdir()) if path.is_dir()]


@contextmanager
def served(directory: Path) -> Iterator[str]:
    """The URL at which a folder's files are to be had."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Handler, directory=str(directory))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def shown_lines(stderr: str) -> list[int]:
    """The lines of the Dockerfile that an error points at."""
    return [int(number) for number in _SHOWN_LINE.findall(stderr)]


def error(stderr: str) -> str:
    """What a builder says that went wrong, without the program's name and without hints."""
    for line in reversed(stderr.splitlines()):
        for beginning in ("ERROR: failed to solve: ", "minidock: failed to solve: ", "minidock: "):
            if line.startswith(beginning):
                return line.removeprefix(beginning)
    return ""


def image(archive: bytes) -> dict[str, Any]:
    """The image in an archive of `save`: its files, config and history, as plain data."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:

        def member(name: str) -> bytes:
            file = tar.extractfile(name)
            assert file is not None, name
            return file.read()

        (entry,) = json.loads(member("manifest.json"))
        config = json.loads(member(entry["Config"]))
        layers = [member(name) for name in entry["Layers"]]
    assert len(layers) == len(config["rootfs"]["diff_ids"])
    assert len(layers) == sum(not h.get("empty_layer") for h in config["history"])
    return {
        "files": _files(layers),
        "layers": [_changed(layer) for layer in layers],
        "config": _without_empty(config.get("config") or {}),
        "history": [{k: v for k, v in h.items() if k != "created"} for h in config["history"]],
        "author": config.get("author") or "",
        "platform": [config.get(key) or "" for key in ("os", "architecture", "variant")],
    }


def _files(layers: list[bytes]) -> dict[str, dict[str, Any]]:
    """Every file of the layers put on each other."""
    files: dict[str, dict[str, Any]] = {}
    for layer in layers:
        seen: set[str] = set()
        for name, member, content in _members(layer):
            folder, _, base = name.rpartition("/")
            if base == ".wh..wh..opq":
                _remove(files, folder, keep=seen)
            elif base.startswith(".wh."):
                _remove(files, f"{folder}/{base[4:]}".lstrip("/"), keep=seen, itself=True)
            elif name:
                if not member.isdir():
                    _remove(files, name, keep=seen, itself=True)
                seen.add(name)
                files[name] = _file(member, content, files)
    return files


def _remove(
    files: dict[str, dict[str, Any]], name: str, *, keep: set[str], itself: bool = False
) -> None:
    gone = [f for f in files if f.startswith(name + "/") or (itself and f == name)]
    for found in gone:
        if found not in keep:
            del files[found]


def _changed(layer: bytes) -> list[str]:
    """What a layer says of files; of the folders above them it may or may not speak."""
    names = {name for name, member, _ in _members(layer) if not member.isdir()}
    return sorted(names)


def _members(layer: bytes) -> Iterator[tuple[str, tarfile.TarInfo, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
        for member in tar:
            file = tar.extractfile(member) if member.isreg() else None
            name = member.name.removeprefix("./").strip("/")
            yield ("" if name == "." else name), member, file.read() if file else b""


def _file(
    member: tarfile.TarInfo, content: bytes, files: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """A file as plain data; a further name of one is a file like it."""
    if member.islnk():
        return files[member.linkname.removeprefix("./").strip("/")]
    kinds = {
        tarfile.REGTYPE: "file",
        tarfile.AREGTYPE: "file",
        tarfile.DIRTYPE: "folder",
        tarfile.SYMTYPE: "link",
        tarfile.FIFOTYPE: "fifo",
        tarfile.CHRTYPE: "character device",
        tarfile.BLKTYPE: "block device",
    }
    found: dict[str, Any] = {
        "kind": kinds[member.type],
        "mode": oct(member.mode & 0o7777),
        "owner": f"{member.uid}:{member.gid}",
        "xattrs": {k: v for k, v in member.pax_headers.items() if k.startswith("SCHILY.xattr.")},
    }
    if member.isreg():
        found["content"] = content.decode("latin-1")
        if len(content) > 1000:
            found["content"] = hashlib.sha256(content).hexdigest()
    if member.issym():
        found["link"] = member.linkname
    if member.isdev():
        found["device"] = (member.devmajor, member.devminor)
    if member.mtime < _RECENT and not member.isdir():
        found["time"] = int(member.mtime)
    return found


def _without_empty(config: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if value not in (None, "", [], {}, False)}
