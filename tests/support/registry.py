"""Debian's docker-registry on a loopback port: open, with passwords, with tokens, with TLS.

with serve(tmp_path) as registry:                    plain http, nobody is asked who they are
with serve(tmp_path, passwords=True) as registry:    USER and PASSWORD (htpasswd)
with serve(tmp_path, authority=Authority(tmp_path)) as registry:    https
with serve(tmp_path, token_server=url, authority=…)  tokens signed by that authority
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.patience import patience

USER, PASSWORD = "student", "secret"
# What htpasswd -B makes of PASSWORD, at the lowest cost there is.
_BCRYPT = "$2y$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW"
SERVICE, ISSUER = "test-registry", "test-issuer"
_LISTENING = re.compile(r"listening on (127\.0\.0\.1:\d+)")


class Authority:
    """A certificate authority of the test's own, and a certificate by it for the loopback names."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.certificate = directory / "ca.crt"
        self.key = directory / "ca.key"
        self.server_certificate = directory / "server.crt"
        self.server_key = directory / "server.key"
        self._make("ca", "-subj", "/CN=test authority", "-addext", "keyUsage=keyCertSign")
        self._make(
            "server",
            *("-subj", "/CN=localhost", "-addext", "basicConstraints=critical,CA:FALSE"),
            *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
            *("-CA", str(self.certificate), "-CAkey", str(self.key)),
        )

    def _make(self, name: str, *options: str) -> None:
        folder = self.certificate.parent
        _openssl(
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-nodes", "-days", "2", "-keyout", f"{folder}/{name}.key"),
            *("-out", f"{folder}/{name}.crt", *options),
        )

    def sign(self, content: bytes) -> bytes:
        """A signature by the server's key, as JSON Web Tokens have it (RFC 7518 section 3.4)."""
        der = _openssl("dgst", "-sha256", "-sign", str(self.server_key), stdin=content)
        first = der[4 : 4 + der[3]]
        second = der[4 + der[3] + 2 :]
        return b"".join(n.lstrip(b"\0").rjust(32, b"\0") for n in (first, second))

    def der(self) -> bytes:
        """The server's certificate, in binary."""
        return _openssl("x509", "-in", str(self.server_certificate), "-outform", "der")


class Registry:
    """A running registry. host: "127.0.0.1:PORT"; root: its storage."""

    def __init__(self, host: str, root: Path, *, scheme: str = "http") -> None:
        self.host = host
        self.root = root
        self.scheme = scheme

    def put_manifest(self, path: str, reference: str, document: object, media_type: str) -> str:
        """Put a manifest directly; returns its digest."""
        content = document if isinstance(document, bytes) else json.dumps(document).encode()
        request = urllib.request.Request(
            f"{self.scheme}://{self.host}/v2/{path}/manifests/{reference}",
            content,
            {"Content-Type": media_type},
            method="PUT",
        )
        with urllib.request.urlopen(request, timeout=patience(20)):
            return "sha256:" + hashlib.sha256(content).hexdigest()

    def manifest(self, path: str, reference: str) -> tuple[bytes, str]:
        """A manifest as it is, and its media type."""
        kinds = (
            "application/vnd.docker.distribution.manifest.v2+json",
            "application/vnd.oci.image.manifest.v1+json",
            "application/vnd.oci.image.index.v1+json",
        )
        request = urllib.request.Request(
            f"{self.scheme}://{self.host}/v2/{path}/manifests/{reference}",
            headers={"Accept": ", ".join(kinds)},
        )
        with urllib.request.urlopen(request, timeout=patience(20)) as answer:
            return answer.read(), answer.headers["Content-Type"]

    def digest(self, path: str, reference: str) -> str:
        """The digest of a manifest."""
        return "sha256:" + hashlib.sha256(self.manifest(path, reference)[0]).hexdigest()


@contextmanager
def serve(
    home: Path,
    *,
    passwords: bool = False,
    authority: Authority | None = None,
    clients: Authority | None = None,
    token_server: str = "",
    token_authority: Authority | None = None,
    inside: Sequence[str] = (),
) -> Iterator[Registry]:
    """A registry for as long as the block lasts; its storage is below `home`.

    clients: with TLS, the authority by which whoever comes must have a certificate.
    inside: words before its command, for another network (docker_daemon.Docker.inside).
    """
    if shutil.which("docker-registry") is None:
        pytest.skip("docker-registry is not installed")
    home.mkdir(parents=True, exist_ok=True)
    storage, log = home / "storage", home / "log"
    lines = ["version: 0.1", "log: {level: info, accesslog: {disabled: true}}"]
    lines.append(
        f"storage: {{filesystem: {{rootdirectory: {storage}}}, delete: {{enabled: true}}}}"
    )
    lines += ["http:", "  addr: 127.0.0.1:0"]
    if authority:
        certificate, key = authority.server_certificate, authority.server_key
        lines += ["  tls:", f"    certificate: {certificate}", f"    key: {key}"]
        lines += [f"    clientcas: [{clients.certificate}]"] if clients else []
    if passwords:
        (home / "htpasswd").write_text(f"{USER}:{_BCRYPT}\n")
        lines += ["auth:", f"  htpasswd: {{realm: test, path: {home / 'htpasswd'}}}"]
    if token_authority:
        lines += ["auth:", "  token:", f"    realm: {token_server}", f"    service: {SERVICE}"]
        lines += [f"    issuer: {ISSUER}", f"    rootcertbundle: {token_authority.certificate}"]
    (home / "config.yml").write_text("\n".join(lines) + "\n")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MINIDOCK_")}
    with open(log, "wb") as out:
        process = subprocess.Popen(
            [*inside, "docker-registry", "serve", str(home / "config.yml")],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env={**environment, "OTEL_TRACES_EXPORTER": "none"},
        )
    try:
        host = _listening(process, log)
        yield Registry(host, storage, scheme="https" if authority else "http")
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def _listening(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + patience(20)
    while time.monotonic() < deadline and process.poll() is None:
        if found := _LISTENING.search(log.read_text(errors="replace")):
            return found[1]
        time.sleep(0.02)
    raise RuntimeError(f"docker-registry did not come up: {log.read_text(errors='replace')}")


def _openssl(*words: str, stdin: bytes | None = None) -> bytes:
    done = subprocess.run(["openssl", *words], input=stdin, capture_output=True, check=False)
    assert done.returncode == 0, f"openssl {words}: {done.stderr.decode()}"
    return done.stdout
