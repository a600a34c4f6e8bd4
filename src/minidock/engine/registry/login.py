"""Whether a registry knows us: `login` asks before anything is kept.

With a token server that gives identity tokens, such a token is kept in place of the password.

Source: moby registry/auth.go; distribution.github.io "Token Authentication Specification".
"""

from __future__ import annotations

from minidock.engine.registry import credentials
from minidock.engine.registry.endpoints import connect
from minidock.engine.registry.response import Refused
from minidock.engine.registry.settings import Settings
from minidock.engine.registry.transport import Unreachable
from minidock.errors import RegistryError


def login(domain: str, user: str, password: str) -> str:
    """Prove a password to a registry and keep it; returns the file where it is, "" for a helper.

    domain: the registry, such as "localhost:5000" or "docker.io".
    Raises RegistryError where the registry does not take the password.
    """
    settings = Settings()
    given = credentials.Credentials(user, password)
    for endpoint in settings.endpoints(domain, mirrors=False):
        with connect(endpoint, "", settings, known=given) as registry:
            try:
                token = registry.identity_token()
            except Refused as error:
                raise RegistryError(
                    f"login attempt to {registry.root} failed with status {error.status}: {error}"
                ) from None
        kept = credentials.Credentials(user, password, identity_token=token)
        return credentials.store(domain, kept)
    raise Unreachable(f"{domain} is not asked for images here")
