"""Credentials for registries, in Docker's config.json: `login` works for both programs.

    $DOCKER_CONFIG/config.json, else ~/.docker/config.json
        {"auths":       {"localhost:5000": {"auth": base64("user:password")}},
         "credsStore":  "secretservice",                  a credential helper for all registries
         "credHelpers": {"ecr.example": "ecr-login"}}     a credential helper for one registry

A credential helper is a program docker-credential-NAME, which reads stdin:

    get     the registry's name     -> {"ServerURL", "Username", "Secret"}
    store   the same document       -> nothing
    erase   the registry's name     -> nothing

A Username of "<token>" means that the Secret is an identity token, which replaces the password at
the token server. The file is encoded, not encrypted, and therefore has mode 0600.

Source: docs.docker.com "docker login" (credential stores); github.com/docker/cli cli/config;
github.com/docker/docker-credential-helpers.
"""

from __future__ import annotations

import base64
import binascii
import os
import subprocess

from minidock import document, jsontext
from minidock.errors import RegistryError, UsageError
from minidock.oci.reference import DEFAULT_DOMAIN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DOCKER_HUB_KEY = "https://index.docker.io/v1/"  # the key of docker.io in config.json
_TOKEN_USER = "<token>"
_HELPER_SECONDS = 60


class Credentials:
    """A user's name and password, or an identity token instead of the password."""

    def __init__(self, user: str, password: str, *, identity_token: str = "") -> None:
        self.user = user
        self.password = password
        self.identity_token = identity_token

    def basic(self) -> str:
        """The Authorization header of HTTP Basic authentication (RFC 7617)."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()


def config_key(domain: str) -> str:
    """The key of a registry in config.json."""
    return DOCKER_HUB_KEY if domain == DEFAULT_DOMAIN else domain


def find(domain: str) -> Credentials | None:
    """The credentials for a registry, or None. Raises UsageError for a damaged config.json."""
    config = _Config()
    key = config_key(domain)
    if helper := config.helper(key):
        return _ask_helper(helper, key)
    return config.entry(key)


def store(domain: str, credentials: Credentials) -> str:
    """Store the credentials for a registry; returns the file, "" for a helper."""
    config = _Config()
    key = config_key(domain)
    if helper := config.helper(key):
        token = credentials.identity_token
        document = {
            "ServerURL": key,
            "Username": _TOKEN_USER if token else credentials.user,
            "Secret": token or credentials.password,
        }
        _run_helper(helper, "store", _json(document))
        config.mark(key)
        return ""
    config.store(key, credentials)
    return config.path


def erase(domain: str) -> None:
    """Erase the credentials for a registry, if any."""
    config = _Config()
    key = config_key(domain)
    if helper := config.helper(key):
        _run_helper(helper, "erase", key.encode())
    config.erase(key)


class _Config:
    """Docker's config.json; unknown keys are preserved, so that it can be any JSON object."""

    def __init__(self) -> None:
        home = os.environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker")
        self.path = f"{home}/config.json"
        self._document: dict[str, Any] = _read(self.path)

    def helper(self, key: str) -> str:
        """The credential helper of a registry, or ""."""
        helpers = self._document.get("credHelpers")
        host = key.partition("://")[2].partition("/")[0] if "://" in key else key
        if isinstance(helpers, dict) and (named := helpers.get(key) or helpers.get(host)):
            return str(named)
        return str(self._document.get("credsStore") or "")

    def entry(self, key: str) -> Credentials | None:
        """The credentials in the file itself; older clients used a URL as key."""
        auths = self._auths()
        entry = auths.get(key)
        if entry is None:
            entry = next((auths[name] for name in auths if _host_of(name) == key), None)
        if not isinstance(entry, dict):
            return None
        user, password = _decode_auth(entry, self.path)
        token = str(entry.get("identitytoken") or "")
        return Credentials(user, password, identity_token=token) if user or token else None

    def store(self, key: str, credentials: Credentials) -> None:
        pair = f"{credentials.user}:{credentials.password}"
        if credentials.identity_token:
            pair = f"{credentials.user}:"
        entry = {"auth": base64.b64encode(pair.encode()).decode()}
        if credentials.identity_token:
            entry["identitytoken"] = credentials.identity_token
        self._document.setdefault("auths", {})[key] = entry
        self._write()

    def mark(self, key: str) -> None:
        """Add an empty entry: a helper stores the credentials."""
        self._document.setdefault("auths", {})[key] = {}
        self._write()

    def erase(self, key: str) -> None:
        """Remove an entry, if any."""
        auths = self._auths()
        removed = [name for name in auths if name == key or _host_of(name) == key]
        for name in removed:
            del auths[name]
        if removed:
            self._write()

    def _auths(self) -> dict[str, Any]:
        auths = self._document.get("auths")
        return auths if isinstance(auths, dict) else {}

    def _write(self) -> None:
        import json

        try:
            os.makedirs(os.path.dirname(self.path), 0o700, exist_ok=True)
            path = os.path.realpath(self.path)  # it may be a symbolic link
            document.write(path, json.dumps(self._document, indent="\t"), durable=True)
        except OSError as error:
            raise UsageError(f"cannot write {self.path}: {error.strerror}") from None


def _host_of(name: str) -> str:
    return name.partition("://")[2].partition("/")[0] if "://" in name else name.partition("/")[0]


def _decode_auth(entry: dict[str, Any], path: str) -> tuple[str, str]:
    """User and password of an entry: in "auth" (base64), or in separate fields."""
    encoded = entry.get("auth")
    if not encoded:
        return str(entry.get("username") or ""), str(entry.get("password") or "")
    try:
        user, colon, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (TypeError, ValueError, binascii.Error):
        colon = ""
    if not colon:
        raise UsageError(
            f"{path} has an entry that cannot be decoded", hint="log in to that registry again"
        )
    return user, password.strip("\0")


def _read(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            parsed = jsontext.loads(file.read() or b"{}")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UsageError(f"Error loading config file: {path}: {error}") from None
    if not isinstance(parsed, dict):
        raise UsageError(f"Error loading config file: {path}: not a JSON object")
    return parsed


def _ask_helper(helper: str, key: str) -> Credentials | None:
    answer = _run_helper(helper, "get", key.encode(), may_be_missing=True)
    if not answer:
        return None
    try:
        parsed = jsontext.loads(answer)
        user, secret = parsed["Username"], parsed["Secret"]
    except (ValueError, KeyError, TypeError):
        raise RegistryError(f"docker-credential-{helper} returned no credentials") from None
    if user == _TOKEN_USER:
        return Credentials("", "", identity_token=secret)
    return Credentials(user, secret)


def _run_helper(helper: str, verb: str, stdin: bytes, *, may_be_missing: bool = False) -> bytes:
    """Run a helper; returns its stdout, b"" for missing credentials if may_be_missing."""
    program = f"docker-credential-{helper}"
    if "/" in helper:
        raise UsageError(f"invalid name of a credential helper: {helper!r}")
    try:
        completed = subprocess.run(
            [program, verb], input=stdin, capture_output=True, timeout=_HELPER_SECONDS, check=False
        )
    except FileNotFoundError:
        raise RegistryError(
            f'error getting credentials - err: exec: "{program}": executable file not found',
            hint="config.json names this helper as credsStore or in credHelpers",
        ) from None
    except subprocess.TimeoutExpired:
        raise RegistryError(f"{program} {verb} timed out after {_HELPER_SECONDS} s") from None
    if completed.returncode == 0:
        return completed.stdout
    output = (completed.stdout + completed.stderr).decode(errors="replace").strip()
    if may_be_missing and "not found" in output:
        return b""
    raise RegistryError(f"error getting credentials - err: {program} {verb}: {output}")


def _json(document: dict[str, str]) -> bytes:
    import json

    return json.dumps(document).encode()
