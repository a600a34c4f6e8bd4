"""What a registry, its token server and an image archive say: JSON, headers, URLs."""

from __future__ import annotations

import http.client
import json
import random
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from minidock.engine.registry.auth import Authorizer, parse_challenges
from minidock.engine.registry.client import Registry
from minidock.engine.registry.response import read_content, refused_error
from minidock.engine.registry.settings import Endpoint, Settings
from minidock.engine.registry.transport import Transport, resolve_url
from minidock.errors import ArchiveError, RegistryError, UsageError
from minidock.oci import archive_manifest, image_config, manifest, reference
from minidock.oci.platform import Platform
from support.fuzz import ODD, fuzz, made, mutated, odd_text

_DIGEST = "sha256:" + "0" * 64
_DESCRIPTOR = {"mediaType": manifest.DOCKER_CONFIG, "digest": _DIGEST, "size": 3}
_MANIFEST = {
    "schemaVersion": 2, "mediaType": manifest.MANIFEST, "config": _DESCRIPTOR,
    "layers": [_DESCRIPTOR],
    "manifests": [{**_DESCRIPTOR, "platform": {"os": "linux", "architecture": "amd64"}}],
}  # fmt: skip
_CONFIG = {
    "os": "linux", "architecture": "amd64", "created": "2024-05-01T12:00:00Z",
    "config": {"Env": ["A=b"], "Cmd": ["x"], "Labels": {"a": "b"}, "ExposedPorts": {"80/tcp": {}},
               "User": "1:2", "Healthcheck": {"Test": ["CMD", "x"], "Interval": 10**9}},
    "rootfs": {"type": "layers", "diff_ids": [_DIGEST]},
    "history": [{"created_by": "x", "empty_layer": True}],
}  # fmt: skip
_ARCHIVE = [{"Config": "c.json", "RepoTags": ["a:b"], "Layers": ["l/layer.tar"]}]
_DEEP = [b"[" * 100_000, b'{"a":' * 500 + b"1" + b"}" * 500, b"[" + b"9" * 5000 + b"]",
         b'{"config":{"Labels":{"a":"\\ud800"}}}', b"[1e999]", b"[NaN]",
         b'{"a":1,"a":2}']  # fmt: skip


def test_manifests() -> None:
    def act(data: bytes) -> None:
        found = manifest.parse_manifest(data, "", "image:1")
        if isinstance(found, list):
            manifest.choose_manifest(found, Platform("amd64"), "image:1")

    samples = json.dumps(_MANIFEST).encode(), json.dumps({**_MANIFEST, "manifests": 0}).encode()
    fuzz(act, mutated(*samples), refuses=RegistryError, known=_DEEP)


def test_configs() -> None:
    fuzz(
        image_config.parse, mutated(json.dumps(_CONFIG).encode()), refuses=ArchiveError, known=_DEEP
    )


def test_archives() -> None:
    def act(data: bytes) -> None:
        for read in (archive_manifest.from_docker, archive_manifest.from_oci):
            try:
                read(lambda name: data)
            except ArchiveError:
                pass

    samples = json.dumps(_ARCHIVE).encode(), json.dumps(_MANIFEST).encode()
    fuzz(act, mutated(*samples), refuses=ArchiveError, known=_DEEP)


def test_references() -> None:
    def act(text: str) -> None:
        reference.parse(text)
        reference.parse_tagged(text)

    words = [
        "localhost:5000/",
        "a.b/c",
        "x",
        ":tag",
        "@sha256:",
        "0" * 64,
        "[::1]:5",
        "A",
        "__",
        "/",
    ]
    fuzz(
        act, odd_text(*words), refuses=UsageError, known=["a" * 100_000, "a/" * 5000, "a:\u0661/x"]
    )


def test_challenges_and_urls() -> None:
    def act(text: str) -> None:
        parse_challenges(text)
        resolve_url("https://registry.example/v2/a/", text)

    words = [
        "Bearer ",
        'realm="https://a"',
        "realm=",
        "http://",
        "https://[",
        "//",
        "Basic",
        ":99999",
    ]
    fuzz(act, odd_text(*words), refuses=RegistryError, known=["https://[::1", "=" * 60_000])


class _Raw(socketserver.StreamRequestHandler):
    """Sends what the test has made, whatever was asked."""

    def handle(self) -> None:
        while self.rfile.readline() not in (b"\r\n", b"\n", b""):
            pass
        self.wfile.write(self.server.answer)  # type: ignore[attr-defined]


@pytest.fixture
def server() -> Iterator[socketserver.ThreadingTCPServer]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Raw) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def _answer(chosen: random.Random) -> bytes:
    """An answer with some headers that are wrong."""
    headers = [
        chosen.choice(("Content-Length: 2", "Content-Length: -5", "Content-Length: 2,3", "",
                       "Content-Length: \xb2", "Content-Length: 99", "Transfer-Encoding: chunked")),
        chosen.choice(("", "Location: /v2/", "Location: http://[", "Location: file:///etc/passwd",
                       "Location: \x01", "Location: http://127.0.0.1:99999/",
                       "X: " + "a" * 70_000)),
        chosen.choice(("", 'WWW-Authenticate: Bearer realm="http://[::1"',
                       "WWW-Authenticate: Basic", "WWW-Authenticate: =,=",
                       'WWW-Authenticate: Bearer realm="\x01 x"')),
        chosen.choice(("", "Link: <x>", "Link: <http://[>", "Content-Encoding: gzip", "Link: <")),
        chosen.choice(ODD).replace("\n", ""),
    ]  # fmt: skip
    status = chosen.choice(("200 OK", "401 x", "307 x", "404", "999 x", "20", "", "500 x"))
    body = chosen.choice((b"{}", b"", b'{"token": ["a"]}', b'{"token": "a\\r\\nX: y"}', b"ZZ\r\n",
                          b'{"tags": 5}', b'{"errors": [{"code": "\\u001b[31m"}]}'))  # fmt: skip
    text = "\r\n".join([f"HTTP/1.1 {status}", *filter(None, headers), "Connection: close", "", ""])
    return text.encode("latin-1", "replace") + body


def test_answers(
    server: socketserver.ThreadingTCPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINIDOCK_CONFIG", str(tmp_path))
    monkeypatch.setattr(http.client, "_MAXHEADERS", 50)
    (tmp_path / "registries.json").write_text('{"timeout-seconds": 1}')
    settings = Settings()
    host = f"127.0.0.1:{server.server_address[1]}"
    url = f"http://{host}"

    def act(data: bytes) -> None:
        server.answer = data  # type: ignore[attr-defined]
        transport = Transport(settings, Endpoint(host, scheme="http", verify=False))
        with Registry(transport, url, "a/b", Authorizer(transport, url, None), settings,
                      actions="pull") as registry:  # fmt: skip
            response = registry.request("GET", "manifests/x", expected=(200,), attempts=1)
            refused_error(response, read_content(response))
            list(registry.tags())

    fuzz(act, made(_answer), refuses=RegistryError, examples=15)
