"""Who we are to a registry: Docker's own config.json, so that one `login` serves both.

    $DOCKER_CONFIG/config.json, else ~/.docker/config.json
        {"auths":       {"localhost:5000": {"auth": base64("user:password")}},
         "credsStore":  "secretservice",                  a program that keeps all of them
         "credHelpers": {"ecr.example": "ecr-login"}}     a program that keeps those of one registry

A helper is the program docker-credential-NAME. It reads one line or document from stdin:

    get     the registry's name     -> {"ServerURL", "Username", "Secret"}
    store   the same document       -> nothing
    erase   the registry's name     -> nothing

A Username of "<token>" says that the Secret is an identity token, which stands for a password at
the token server. What is in the file is encoded, not encrypted: hence its mode 0600.

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

DOCKER_HUB_KEY = "https://index.docker.io/v1/"  # what docker.io is called in config.json
_TOKEN_USER = "<token>"
_HELPER_SECONDS = 60


class Credentials:
    """A user's name and password, or an identity token instead of the password."""

    def __init__(self, user: str, password: str, *, identity_token: str = "") -> None:
        self.user = user
        self.password = password
        self.identity_token = identity_token

    def basic(self) -> str:
        """The value of an Authorization header of the scheme Basic (RFC 7617)."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()


def config_key(domain: str) -> str:
    """What config.json calls a registry."""
    return DOCKER_HUB_KEY if domain == DEFAULT_DOMAIN else domain


def find(domain: str) -> Credentials | None:
    """The credentials for a registry, or None. Raises UsageError for a damaged config.json."""
    config = _Config()
    key = config_key(domain)
    if helper := config.helper(key):
        return _ask_helper(helper, key)
    return config.entry(key)


def store(domain: str, credentials: Credentials) -> str:
    """Keep the credentials for a registry; returns the file where they are, "" with a helper."""
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
    """Forget the credentials for a registry; that there were none is no error."""
    config = _Config()
    key = config_key(domain)
    if helper := config.helper(key):
        _run_helper(helper, "erase", key.encode())
    config.erase(key)


class _Config:
    """Docker's config.json; what minidock does not know in it stays as it is."""

    def __init__(self) -> None:
        home = os.environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker")
        self.path = f"{home}/config.json"
        self._document: dict[str, Any] = _read(self.path)

    def helper(self, key: str) -> str:
        """The helper that keeps a registry's credentials, or ""."""
        helpers = self._document.get("credHelpers")
        host = key.partition("://")[2].partition("/")[0] if "://" in key else key
        if isinstance(helpers, dict) and (named := helpers.get(key) or helpers.get(host)):
            return str(named)
        return str(self._document.get("credsStore") or "")

    def entry(self, key: str) -> Credentials | None:
        """The credentials in the file itself; older clients wrote a URL for the host."""
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
        """Note that a helper keeps the credentials of a registry."""
        self._document.setdefault("auths", {})[key] = {}
        self._write()

    def erase(self, key: str) -> None:
        """Remove an entry, if there is one."""
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
            path = os.path.realpath(self.path)  # it may be a link into somebody's dotfiles
            document.write(path, json.dumps(self._document, indent="\t"), durable=True)
        except OSError as error:
            raise UsageError(f"cannot write {self.path}: {error.strerror}") from None


def _host_of(name: str) -> str:
    return name.partition("://")[2].partition("/")[0] if "://" in name else name.partition("/")[0]


def _decode_auth(entry: dict[str, Any], path: str) -> tuple[str, str]:
    """User and password of an entry: together in base64, or one by one."""
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
        raise RegistryError(f"docker-credential-{helper} answered with no credentials") from None
    if user == _TOKEN_USER:
        return Credentials("", "", identity_token=secret)
    return Credentials(user, secret)


def _run_helper(helper: str, verb: str, stdin: bytes, *, may_be_missing: bool = False) -> bytes:
    """What a helper answers; b"" where it has no such credentials, and may lack them."""
    program = f"docker-credential-{helper}"
    if "/" in helper:
        raise UsageError(f"a credential helper is named by a word, not by {helper!r}")
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
        raise RegistryError(f"{program} {verb} did not answer in {_HELPER_SECONDS} s") from None
    if completed.returncode == 0:
        return completed.stdout
    output = (completed.stdout + completed.stderr).decode(errors="replace").strip()
    if may_be_missing and "not found" in output:
        return b""
    raise RegistryError(f"error getting credentials - err: {program} {verb}: {output}")


def _json(document: dict[str, str]) -> bytes:
    import json

    return json.dumps(document).encode()
