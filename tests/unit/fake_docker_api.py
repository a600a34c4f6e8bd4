"""The real docker client as an oracle: a server that answers it, and records what it asks.

`FakeDockerApi` listens on a Unix socket and speaks enough of the Docker Engine API (version 1.45)
for the client's `create`, `inspect`, `ps`, ... The client then does with our input what it always
does: turns flags into JSON, and JSON into tables and templates. No daemon is needed, and no root.
"""

from __future__ import annotations

import json
import os
import shutil
import socketserver
import subprocess
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, unquote, urlparse

DOCKER = shutil.which("docker")
API_VERSION = "1.45"


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    allow_reuse_address = True
    api: FakeDockerApi


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def address_string(self) -> str:
        return "docker"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _respond(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = self._chunks()
        url = urlparse(self.path)
        path = unquote(url.path)
        if path.startswith("/v1."):
            path = "/" + path.split("/", 2)[2]
        status, answer = self.server.api.answer(self.command, path, parse_qs(url.query), body)
        encoded = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Api-Version", API_VERSION)
        self.send_header("Ostype", "linux")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(encoded)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(encoded)

    def _chunks(self) -> bytes:
        whole = b""
        while size := int(self.rfile.readline().strip() or b"0", 16):
            whole += self.rfile.read(size)
            self.rfile.readline()
        return whole

    do_GET = do_POST = do_HEAD = do_DELETE = _respond


class FakeDockerApi:
    """Answers the docker client from `answers`, and keeps each request in `requests`.

    answers: path ("/containers/json") -> what to answer; unknown paths are a 404.
    """

    def __init__(self, directory: Path) -> None:
        self.socket = f"{directory}/docker.sock"
        self.config = f"{directory}/config"
        os.makedirs(self.config, exist_ok=True)
        self.answers: dict[str, Any] = {}
        self.requests: list[tuple[str, str, dict[str, list[str]], Any]] = []

    def __enter__(self) -> FakeDockerApi:
        self._server = _Server(self.socket, _Handler)
        self._server.api = self
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(
        self, method: str, path: str, query: dict[str, list[str]], body: bytes
    ) -> tuple[int, Any]:
        if path == "/_ping":
            return 200, b"OK"
        self.requests.append((method, path, query, json.loads(body) if body else None))
        if path == "/containers/create":
            return 201, {"Id": "c" * 64, "Warnings": []}
        if path in self.answers:
            return 200, self.answers[path]
        return 404, {"message": f"no answer for {path}"}

    def run(self, *argv: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the real docker client against this server."""
        return subprocess.run(
            [DOCKER or "docker", *argv],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=30,
            env={
                "PATH": os.environ["PATH"],
                "HOME": self.config,
                "DOCKER_HOST": f"unix://{self.socket}",
                "DOCKER_CONFIG": self.config,
                **environment,
            },
        )
