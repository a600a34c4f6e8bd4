"""Files and messages: tar archives, DNS, documents, journals, bundles, credentials, rubrics."""

from __future__ import annotations

import io
import json
import struct
import tarfile
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from minidock import document, jsontext
from minidock.engine.container.user import resolve_user
from minidock.engine.network.dns.message import Query, answers_to, code_of
from minidock.engine.registry import credentials
from minidock.errors import ArchiveError, DamagedFile, MinidockError
from minidock.oci.tar import TarReader
from minidock.runtime.config_validation import check_config
from minidock.teach.lab import rubric
from support.fuzz import corpus, fuzz, mutated

_DEEP = [b"[" * 100_000, b"[" + b"9" * 5000 + b"]", b"[1e999]", b'{"a":1,"a":2}', b"\xff", b""]


def _archive() -> list[bytes]:
    """Archives of each kind, with every sort of entry."""
    made = []
    for kind in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        with tarfile.open(fileobj=(file := io.BytesIO()), mode="w", format=kind) as tar:
            for name, typ in (
                ("a" * 150, b"0"),
                ("d", b"5"),
                ("l", b"2"),
                ("h", b"1"),
                ("c", b"3"),
            ):
                info = tarfile.TarInfo(name)
                info.type, info.linkname, info.mtime = typ, "x" * 120, 1.5
                info.size = 3 if typ == b"0" else 0
                info.pax_headers = {"SCHILY.xattr.user.a": "b", "GNU.sparse.major": "1"}
                tar.addfile(info, io.BytesIO(b"abc"))
        made.append(file.getvalue()[:6144])
    return made


def test_tar_archives() -> None:
    def act(data: bytes) -> None:
        for entry in TarReader(io.BytesIO(data)):
            str(entry.name)

    fuzz(act, mutated(*_archive()), refuses=ArchiveError, known=corpus("tar"))


def test_dns_messages() -> None:
    def act(data: bytes) -> None:
        query = Query(asked)
        for message in (data, asked[:2] + b"\x81\x80" + data):
            if answers_to(message, query, query.id):
                code_of(message)
        Query(data).reverse_address()

    header = struct.pack(">HHHHHH", 7, 256, 1, 0, 0, 1)
    asked = plain = header + b"\3web\7example\0\0\1\0\1\0\0\x29\x10\0\0\0\0\0\0\0"
    pointer = header + b"\0012\0011\3168\3192\7in-addr\4arpa\0\0\x0c\0\1\xc0\x0c" * 2
    known = [header + b"\xc0\x0c\0\1\0\1", header + b"\x3f" * 300, b"", header]
    fuzz(act, mutated(plain, pointer), refuses=ValueError, known=known)


def test_json_is_read_as_python_reads_it() -> None:
    def act(data: bytes) -> None:
        try:
            expected = json.loads(data.decode(), parse_constant=_refuse)
        except (ValueError, RecursionError):
            expected = ValueError
        try:
            found = jsontext.loads(data)
        except ValueError:
            found = ValueError
        assert repr(found) == repr(expected)

    sample = b'{"a": [1, -2.5e3, true, null, "\\u00e9\\ud83d\\ude00\\n"], "b": {"c": {}}}'
    fuzz(act, mutated(sample), refuses=(), known=[*_DEEP, b"[NaN]"])


def _refuse(name: str) -> None:
    raise ValueError(name)


def test_documents() -> None:
    def act(data: bytes) -> None:
        document.parse(data, "state.json", {"pid": int, "id": str})

    fuzz(act, mutated(b'{"pid": 1, "id": "a"}'), refuses=DamagedFile, known=_DEEP)


def test_bundles(tmp_path: Path) -> None:
    config = json.loads((Path(__file__).parent / "corpus" / "config.json").read_text())
    sample = json.dumps(config).encode()

    def act(data: bytes) -> None:
        try:
            value = jsontext.loads(data)
        except ValueError:
            return
        check_config(value)

    fuzz(act, mutated(sample), refuses=MinidockError, known=_DEEP)


def _of_file(path: Path, read: Callable[[], object]) -> Callable[[bytes], None]:
    def act(data: bytes) -> None:
        path.write_bytes(data)
        read()

    return act


def test_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    sample = b'{"auths": {"https://a/v1/": {"auth": "dTpw", "identitytoken": "x"}}, "other": {}}'
    act = _of_file(tmp_path / "config.json", lambda: credentials.find("a"))
    fuzz(act, mutated(sample), refuses=MinidockError, known=_DEEP)


def test_rubrics(tmp_path: Path) -> None:
    sample = (Path(__file__).parents[2] / "labs/00-chroot/rubric.toml").read_bytes()
    tomllib.loads(sample.decode())
    act = _of_file(tmp_path / "rubric.toml", lambda: rubric.read(str(tmp_path)))
    fuzz(
        act, mutated(sample), refuses=MinidockError, known=[b"a=" + b"[" * 5000, b"a = 1", b"\xff"]
    )


def test_users_of_an_image(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/group").write_text("a:x:5:u\n\u0665:x:\u0665:u\n")
    act = _of_file(
        tmp_path / "etc/passwd",
        lambda: [resolve_user(str(tmp_path), who, ["a"]) for who in ("u", "0", "7:a")],
    )
    sample = b"root:x:0:0:root:/root:/bin/sh\nu:x:1000:1000::/home/u:/bin/sh\n"
    known = ["u:x:\u0660:\u0660::/:/\n".encode(), b"u:x:" + b"9" * 5000 + b":0::/:/\n"]
    fuzz(act, mutated(sample), refuses=MinidockError, known=known)
