"""`login`: verify credentials with a registry, then store them.

If the token server issues identity tokens, the token is stored instead of the password.

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
    """Verify a password with a registry and store it; returns the file, "" for a helper.

    domain: the registry, such as "localhost:5000" or "docker.io".
    Raises RegistryError if the registry rejects the password.
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
    raise Unreachable(f"the registry {domain} is blocked by configuration")
