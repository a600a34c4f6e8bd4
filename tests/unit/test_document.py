"""Documents: what is no regular file, too large, not JSON or of another shape is one error."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from minidock import document
from minidock.document import Each
from minidock.errors import DamagedFile
from minidock.oci.digest import is_digest

SHAPE = {"name": str, "size": int, "on?": (bool, None), "tags": Each([str]), "id?": is_digest}


@pytest.mark.parametrize(
    "text, wrong",
    [
        ('{"name": "a", "size": 1, "tags": {"x": ["y"]}, "other": 7}', ""),
        ('{"name": "a", "size": 1, "tags": {}, "on": null}', ""),
        ("", "it is empty"),
        ('{"name": "a", "size": 1', "char"),
        ("[]", "its value: not an object"),
        ('{"name": "a", "tags": {}}', "size is missing"),
        ('{"name": "a", "size": true, "tags": {}}', "size: not a number"),
        ('{"name": 7, "size": 1, "tags": {}}', "name: not a string"),
        ('{"name": "a", "size": 1, "tags": {"x": [1]}}', "tags.x[0]: not a string"),
        ('{"name": "a", "size": 1, "tags": {}, "on": 1}', "on: not true or false"),
        ('{"name": "a", "size": 1, "tags": {}, "id": "../x"}', "id: '../x' is not allowed"),
        pytest.param("[" * 100_000, "nested too deeply", id="nested"),
        ("\ud800", "utf-8"),
    ],
)
def test_document_has_its_shape_or_is_damaged(tmp_path: Path, text: str, wrong: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    if wrong:
        with pytest.raises(DamagedFile, match=re.escape(wrong)) as raised:
            document.read(str(path), SHAPE)
        assert str(path) in str(raised.value) and "--repair" in raised.value.hint
    else:
        assert document.read(str(path), SHAPE)["name"] == "a"


def test_what_is_no_regular_file_is_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "directory").mkdir()
    (tmp_path / "link").symlink_to("/etc/hostname")
    for name in ("fifo", "directory", "link"):
        with pytest.raises(DamagedFile, match=name):
            document.read(str(tmp_path / name), SHAPE)
    (tmp_path / "sparse").touch()
    os.truncate(tmp_path / "sparse", 1 << 40)
    with pytest.raises(DamagedFile, match="1099511627776 bytes"):
        document.read(str(tmp_path / "sparse"), SHAPE)
    with pytest.raises(FileNotFoundError):
        document.read(str(tmp_path / "nothing"), SHAPE)


@pytest.mark.parametrize("durable", [True, False])
def test_durable_file_is_on_the_disk_before_its_name_and_its_name_before_write_returns(
    tmp_path: Path, durable: bool
) -> None:
    """What strace sees: the file's fsync, the rename, the directory's fsync; or no fsync at all."""
    program = f"from minidock import document as d; d.write('file', 'text', durable={durable})"
    log = tmp_path / "log"
    subprocess.run(
        ["strace", "-y", "-e", "trace=fsync,rename,fdatasync,sync_file_range", "-o", log,
         sys.executable, "-c", program], cwd=tmp_path, check=True)  # fmt: skip
    calls = [line.partition("(")[0] for line in log.read_text().splitlines() if "(" in line]
    assert calls == (["fsync", "rename", "fsync"] if durable else ["rename"]), log.read_text()
    assert (tmp_path / "file").read_text() == "text"
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600
