"""What minidock reads or writes while a container exchanges it: no file of the host is touched.

The racer does what root in a container can do to a directory that is bound into it. In each round a
directory is exchanged for a link to the host's files while minidock works in it.
"""

from __future__ import annotations

import io
import os
import shutil
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from minidock.cli.output.sizes import tree_bytes
from minidock.engine.container import volumes
from minidock.engine.container.populate_volumes import populate_volume
from minidock.engine.copy.tar_in import Unpacker
from minidock.engine.copy.tar_out import Packer
from minidock.errors import MinidockError
from minidock.paths import Store
from support.patience import patience
from support.racer import Racer

pytestmark = pytest.mark.root

LONG = bool(os.environ.get("MINIDOCK_LONG"))
SECONDS = 30 if LONG else 2
FILLERS = 60


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Path]:
    """A directory of the host's; nothing of it has changed in the end."""
    directory = tmp_path / "host"
    directory.mkdir(mode=0o700)
    (directory / "secret").write_text("the host's")
    os.chmod(directory / "secret", 0o600)
    before = _look(directory)
    yield directory
    assert _look(directory) == before, "a file of the host's was touched"


def _look(directory: Path) -> list[tuple[str, int, int, int, bytes]]:
    found = []
    for path in [directory, *sorted(directory.rglob("*"))]:
        status = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        found.append((str(path), status.st_mode, status.st_uid, status.st_mtime_ns, content))
    return found


def _rounds() -> Iterator[int]:
    end = time.monotonic() + (patience(SECONDS) if LONG else SECONDS)
    number = 0
    while time.monotonic() < end:
        yield number
        number += 1
    assert number > 3, "the race was hardly run"


def _reset(trap: Path, host: Path) -> None:
    """A link to the host's files, for the racer to put in a directory's place."""
    if trap.is_dir() and not trap.is_symlink():
        shutil.rmtree(trap)
    trap.unlink(missing_ok=True)
    trap.symlink_to(host)


def _directory(path: Path) -> None:
    """A directory with a file of the name that the host's has, and others to spend time with."""
    path.mkdir(parents=True)
    path.chmod(0o777)
    for name in ("secret", *(f"filler{number}" for number in range(FILLERS))):
        (path / name).write_text("the container's")
        (path / name).chmod(0o666)


def test_filling_a_volume_changes_no_file_that_a_link_leads_to(
    store: Store, tmp_path: Path, host: Path
) -> None:
    _directory(tmp_path / "image/d")
    for number in _rounds():
        name = f"v{number}"
        volumes.create(store, name, options={}, labels={})
        _reset(tmp_path / "trap", host)
        with Racer((Path(store.volume(name), "copying/d"), tmp_path / "trap")):
            try:
                populate_volume(store, name, str(tmp_path / "image"))
            except (MinidockError, OSError):
                pass  # it has seen that something was exchanged


def test_what_is_copied_into_a_container_holds_no_file_that_a_link_leads_to(
    tmp_path: Path, host: Path
) -> None:
    shared, trap = tmp_path / "shared", tmp_path / "trap"
    _directory(shared / "d")
    (shared / "d/secret").unlink()
    _reset(trap, host)
    with Racer((shared / "d", trap)):
        for _ in _rounds():
            archive = io.BytesIO()
            Packer(archive.write, inside=False).pack(str(shared), "shared")
            assert b"the host's" not in archive.getvalue()


def test_what_is_copied_out_of_a_container_lands_where_it_was_sent(
    tmp_path: Path, host: Path
) -> None:
    shared, trap = tmp_path / "shared", tmp_path / "trap"
    _directory(shared / "d")
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name in ("d", "d/secret", "d/new", *(f"d/filler{n}" for n in range(FILLERS))):
            entry = tarfile.TarInfo(name)
            entry.type = tarfile.DIRTYPE if name == "d" else tarfile.REGTYPE
            entry.mode = 0o777
            archive.addfile(entry)
    _reset(trap, host)
    with Racer((shared / "d", trap)):
        for _ in _rounds():
            content.seek(0)
            try:
                Unpacker(content, str(shared), inside=False).unpack()
            except (MinidockError, OSError):
                pass  # it has seen that something was exchanged


def test_sizes_count_no_file_that_a_link_leads_to(tmp_path: Path) -> None:
    (tmp_path / "large").mkdir()
    (tmp_path / "large/file").write_bytes(bytes(1 << 20))
    shared, trap = tmp_path / "shared", tmp_path / "trap"
    _directory(shared / "d")
    _reset(trap, tmp_path / "large")
    before = tree_bytes(str(shared))
    with Racer((shared / "d", trap)):
        for _ in _rounds():
            assert tree_bytes(str(shared)) <= before
