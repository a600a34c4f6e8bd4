"""Authenticate to a registry: answer its WWW-Authenticate challenges.

    registry  ── 401, WWW-Authenticate: Basic realm="…" ─────────────────▶ user and password
    registry  ── 401, WWW-Authenticate: Bearer realm=URL,service="…" ────▶ a token from URL:

        GET URL?service=…&scope=repository:team/app:pull    with user and password, if known
        {"token": "…", "expires_in": 300}                       then: Authorization: Bearer …

A token has scopes and a lifetime; it is cached that long. With an identity token instead of a
password, the token server gets a POST (OAuth 2, grant_type=refresh_token).

A password is sent only to the registry itself or to the token server that it names, and never by
http if the registry is reached by https.

Source: distribution.github.io "Token Authentication Specification", "OAuth2"; RFC 9110 section 11,
RFC 7617, RFC 6750.
"""

from __future__ import annotations

import threading
import time
from urllib.parse import urlencode, urlsplit

from minidock import jsontext
from minidock.engine.registry.response import read_content, refused_error
from minidock.engine.registry.transport import check_url, printable
from minidock.errors import RegistryError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse as Response

    from minidock.engine.registry.credentials import Credentials
    from minidock.engine.registry.transport import Transport

_LIFETIME_SECONDS_MAX = 86400
_TOKEN_MAX = 32768  # characters; servers limit headers
_LIFETIME_SECONDS = 60  # of a token without expires_in
_MARGIN_SECONDS = 10
_CLIENT = "minidock"
_LOGIN_HINT = "minidock login REGISTRY     logs in to the registry"
_SEPARATORS = frozenset(' \t,="')


class Challenge:
    """One challenge of a WWW-Authenticate header: scheme (in lower case) and parameters."""

    def __init__(self, scheme: str, parameters: dict[str, str]) -> None:
        self.scheme = scheme
        self.parameters = parameters


def parse_challenges(header: str) -> list[Challenge]:
    """Parse the challenges of a WWW-Authenticate header, which may list several schemes."""
    found: list[Challenge] = []
    rest = header.strip()
    while rest:
        word, rest = _token(rest)
        if not word:
            rest = rest[1:].lstrip()
            continue
        if rest.startswith("=") and found:
            value, rest = _value(rest[1:].lstrip())
            found[-1].parameters[word.lower()] = value
        else:
            found.append(Challenge(word.lower(), {}))
        rest = rest.lstrip(", \t")
    return found


class Authorizer:
    """Makes Authorization headers for a registry's challenges, and caches tokens."""

    def __init__(self, transport: Transport, url: str, credentials: Credentials | None) -> None:
        self._transport = transport
        self._registry_scheme = urlsplit(url).scheme
        self._credentials = credentials
        self._challenges: list[Challenge] = []
        self._tokens: dict[tuple[str, ...], tuple[str, float]] = {}
        self._lock = threading.Lock()

    def set_challenges(self, header: str) -> None:
        """Set the challenges of a 401 response, and drop the cached tokens."""
        with self._lock:
            self._challenges = parse_challenges(header) or self._challenges
            self._tokens.clear()

    def header(self, scopes: tuple[str, ...]) -> str:
        """The Authorization header for a request, "" if none is required or possible.

        scopes: such as ("repository:team/app:pull",). Raises RegistryError.
        """
        with self._lock:
            for challenge in self._challenges:
                if challenge.scheme == "bearer" and challenge.parameters.get("realm"):
                    return f"Bearer {self._token(challenge, scopes)}"
                if challenge.scheme == "basic" and self._credentials and self._credentials.user:
                    return self._credentials.basic()
        return ""

    @property
    def lacks_password(self) -> bool:
        """Whether a password is required and missing."""
        return self._credentials is None and any(d.scheme == "basic" for d in self._challenges)

    def identity_token(self) -> str:
        """Request an identity token that replaces the password; "" if the server issues none.

        Raises RegistryError if the server rejects the password.
        """
        for challenge in self._challenges:
            if challenge.scheme == "bearer":
                answer = self._ask(challenge, (), offline=True)
                return _check_token(answer.get("refresh_token") or "")
        return ""

    def _token(self, challenge: Challenge, scopes: tuple[str, ...]) -> str:
        token, until = self._tokens.get(scopes, ("", 0.0))
        if time.monotonic() < until:
            return token
        answer = self._ask(challenge, scopes)
        token = _check_token(answer.get("token") or answer.get("access_token") or "")
        if not token:
            raise RegistryError(
                f"{printable(challenge.parameters['realm'])} answered without a token"
            )
        lifetime = answer.get("expires_in")
        lifetime = (
            min(lifetime, _LIFETIME_SECONDS_MAX)
            if isinstance(lifetime, int) and lifetime > 0
            else _LIFETIME_SECONDS
        )
        self._tokens[scopes] = token, time.monotonic() + max(1, lifetime - _MARGIN_SECONDS)
        return token

    def _ask(
        self, challenge: Challenge, scopes: tuple[str, ...], *, offline: bool = False
    ) -> dict[str, object]:
        """Send a request to the token server; returns its JSON document."""
        realm = challenge.parameters["realm"]
        self._check_realm(realm)
        service = challenge.parameters.get("service", "")
        if self._credentials and self._credentials.identity_token:
            response = self._post_refresh(realm, service, scopes, self._credentials.identity_token)
        else:
            response = self._get_token(realm, service, scopes, offline=offline)
        content = read_content(response)
        if response.status != 200:
            error = refused_error(response, content)
            error.hint = _LOGIN_HINT
            raise error
        try:
            answer = jsontext.loads(content)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise RegistryError(f"the response of {printable(realm)} is not a token")
        return answer

    def _post_refresh(
        self, realm: str, service: str, scopes: tuple[str, ...], refresh_token: str
    ) -> Response:
        """Exchange the refresh token that a login has stored for an access token (OAuth 2)."""
        fields = [
            ("service", service),
            ("scope", " ".join(scopes)),
            ("client_id", _CLIENT),
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh_token),
        ]
        return self._transport.send(
            "POST",
            realm,
            headers={"Content-Type": "application/x-www-form-urlencoded"},
            body=urlencode(fields).encode(),
        )

    def _get_token(
        self, realm: str, service: str, scopes: tuple[str, ...], *, offline: bool
    ) -> Response:
        """Request a token with user and password, or anonymously."""
        fields = [("service", service), *(("scope", scope) for scope in scopes)]
        headers = {}
        if self._credentials and self._credentials.user:
            fields += [("account", self._credentials.user), ("client_id", _CLIENT)]
            fields += [("offline_token", "true")] if offline else []
            headers["Authorization"] = self._credentials.basic()
        query = urlencode([field for field in fields if field[1]])
        separator = "&" if urlsplit(realm).query else "?"
        return self._transport.send("GET", f"{realm}{separator}{query}", headers=headers)

    def _check_realm(self, realm: str) -> None:
        check_url(realm)
        scheme = urlsplit(realm).scheme
        if scheme not in ("http", "https") or (self._registry_scheme, scheme) == ("https", "http"):
            raise RegistryError(
                f"the registry's token server {printable(realm)} does not use https",
                hint="passwords are not sent over http",
            )


def _check_token(token: object) -> str:
    """Check that a token is valid in a header. Raises RegistryError."""
    is_token = isinstance(token, str) and token.isascii() and len(token) <= _TOKEN_MAX
    if not is_token or any(character <= " " or character == "\x7f" for character in str(token)):
        raise RegistryError("the response of the token server is not a token")
    return str(token)


def _token(text: str) -> tuple[str, str]:
    """Split off the token at the beginning of a text; returns it and the rest."""
    end = 0
    while end < len(text) and text[end] not in _SEPARATORS:
        end += 1
    return text[:end], text[end:].lstrip()


def _value(text: str) -> tuple[str, str]:
    """Split off a parameter's value, quoted or not; returns it and the rest."""
    if not text.startswith('"'):
        return _token(text)
    value, at = "", 1
    while at < len(text) and text[at] != '"':
        at += text[at] == "\\"
        value += text[at : at + 1]
        at += 1
    return value, text[at + 1 :].lstrip()
