"""A token server for docker-registry: it knows one user, and signs what that one may do."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from support.registry import ISSUER, PASSWORD, SERVICE, USER, Authority

REFRESH = "an-identity-token"


class TokenServer(ThreadingHTTPServer):
    """url: its realm. asked: the scopes of each request, and who asked ("" for nobody).

    public: repositories that everybody may pull. gives_identity: whether it hands out REFRESH.
    """

    def __init__(self, authority: Authority) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.authority = authority
        self.url = f"http://127.0.0.1:{self.server_address[1]}/token"
        self.asked: list[tuple[tuple[str, ...], str]] = []
        self.public: set[str] = set()
        self.gives_identity = False

    def token(self, scopes: list[str], user: str) -> str:
        access = []
        for scope in scopes:
            kind, _, rest = scope.partition(":")
            name, _, actions = rest.rpartition(":")
            allowed = actions.split(",") if user else []
            if not user and name in self.public:
                allowed = ["pull"]
            access.append({"type": kind, "name": name, "actions": allowed})
        now = int(time.time())
        header = {
            "typ": "JWT",
            "alg": "ES256",
            "x5c": [base64.b64encode(self.authority.der()).decode()],
        }
        claims = {"iss": ISSUER, "sub": user, "aud": SERVICE, "exp": now + 300, "nbf": now - 10}
        claims |= {"iat": now - 10, "jti": hashlib.sha256(repr(scopes).encode()).hexdigest()}
        claims["access"] = access
        signed = b".".join(_packed(json.dumps(part).encode()) for part in (header, claims))
        return (signed + b"." + _packed(self.authority.sign(signed))).decode()


class _Handler(BaseHTTPRequestHandler):
    server: TokenServer

    def do_GET(self) -> None:
        given = self.headers.get("Authorization", "").removeprefix("Basic ")
        user = base64.b64decode(given).decode() if given else ""
        if user and user != f"{USER}:{PASSWORD}":
            self._answer(401, {"details": "incorrect username or password"})
            return
        query = parse_qs(urlsplit(self.path).query)
        self._give(query.get("scope", []), user.partition(":")[0], offline="offline_token" in query)

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        if form.get("refresh_token") != [REFRESH]:
            self._answer(401, {"details": "unknown refresh token"})
            return
        self._give(" ".join(form.get("scope", [])).split(), USER, offline=False)

    def _give(self, scopes: list[str], user: str, *, offline: bool) -> None:
        self.server.asked.append((tuple(scopes), user))
        answer: dict[str, object] = {"token": self.server.token(scopes, user), "expires_in": 300}
        if offline and self.server.gives_identity:
            answer["refresh_token"] = REFRESH
        self._answer(200, answer)

    def _answer(self, status: int, document: object) -> None:
        content = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:
        return


@contextmanager
def serve_tokens(authority: Authority) -> Iterator[TokenServer]:
    """A token server for as long as the block lasts."""
    with TokenServer(authority) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def _packed(content: bytes) -> bytes:
    return base64.urlsafe_b64encode(content).rstrip(b"=")
