"""`login` and `logout`: credentials for registries, in Docker's config.json."""

from __future__ import annotations

import os
import sys

from minidock.cli.frame.command import Misuse, command
from minidock.cli.frame.pflag import switch, value
from minidock.errors import UsageError

_DEFAULT = "docker.io"
_WARNING = "WARNING! Using --password via the CLI is insecure. Use --password-stdin."
_STORED = """WARNING! Your password will be stored unencrypted in {path}.
Configure a credential helper to remove this warning. See
https://docs.docker.com/engine/reference/commandline/login/#credentials-store
"""


@command("[SERVER]", at_most=1)
@value("-p", "--password", default=None, help="Password")
@switch("--password-stdin", help="Read the password from stdin")
@value("-u", "--username", default="", help="Username")
def login(
    arguments: tuple[str, ...], *, password: str | None, password_stdin: bool, username: str
) -> None:
    """Store the credentials for a registry"""
    from minidock.engine.registry import login as engine

    domain = _domain(arguments)
    user, secret = _asked_for(username, password, password_stdin=password_stdin)
    path = engine.login(domain, user, secret)
    if path:
        print(_STORED.format(path=path), file=sys.stderr)
    print("Login Succeeded")


@command("[SERVER]", at_most=1)
def logout(arguments: tuple[str, ...]) -> None:
    """Remove the stored credentials for a registry"""
    from minidock.engine.registry import credentials

    domain = _domain(arguments)
    print(f"Removing login credentials for {credentials.config_key(domain)}")
    credentials.erase(domain)


def _domain(arguments: tuple[str, ...]) -> str:
    """Return the host of the registry; the default is docker.io."""
    if not arguments:
        return _DEFAULT
    server = arguments[0]
    server = server.partition("://")[2] if "://" in server else server
    host = server.partition("/")[0]
    if not host:
        raise UsageError(
            f"{arguments[0]!r} is not a registry", hint="write HOST[:PORT], such as localhost:5000"
        )
    return _DEFAULT if host in ("index.docker.io", "registry-1.docker.io") else host


def _asked_for(user: str, password: str | None, *, password_stdin: bool) -> tuple[str, str]:
    """Return user and password, from flags, stdin or a prompt."""
    if password is not None:
        print(_WARNING, file=sys.stderr, flush=True)
    if password_stdin:
        if password is not None:
            raise Misuse("--password and --password-stdin are mutually exclusive")
        if not user:
            raise Misuse("Must provide --username with --password-stdin")
        return user, sys.stdin.read().rstrip("\r\n")
    if not os.isatty(0) and (not user or password is None):
        raise Misuse(
            "Cannot perform an interactive login from a non TTY device",
            hint="minidock login -u USER --password-stdin SERVER < FILE",
        )
    import getpass

    user = user or input("Username: ").strip()
    if not user:
        raise Misuse("username is required")
    if password is None:
        password = getpass.getpass("Password: ")
    if not password:
        raise Misuse("password is required")
    return user, password
