"""Connect to the registry of a name: its mirrors in turn, then the registry itself.

The first request, GET /v2/, verifies that the server is a registry and returns its authentication
challenge. A mirror that is unreachable or lacks the image is skipped.

Source: moby registry/service_v2.go (lookupV2Endpoints), distribution/errors.go for the messages.
"""

from __future__ import annotations

from minidock.engine.registry import credentials
from minidock.engine.registry.auth import Authorizer
from minidock.engine.registry.client import RETRY_STATUSES, Registry
from minidock.engine.registry.response import Refused, drain, refused_error
from minidock.engine.registry.settings import Endpoint, Settings
from minidock.engine.registry.transport import Interrupted, Transport, Unreachable
from minidock.errors import NotFound, RegistryError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from minidock.engine.registry.credentials import Credentials
    from minidock.oci.reference import Reference

_NOT_THERE = (401, 403, 404)


def registries(name: Reference) -> Iterator[Registry]:
    """Connect to the servers for a name in order of preference; yields those that respond.

    Raises the error of the last server if none does, Unreachable for a blocked registry.
    """
    settings = Settings()
    endpoints = settings.endpoints(name.domain)
    if not endpoints:
        raise Unreachable(
            f"the registry {name.domain} is blocked by configuration",
            hint="see blocked-registries in registries.json",
        )
    answered = False
    problem: RegistryError | None = None
    for endpoint in endpoints:
        try:
            registry = connect(
                endpoint, name.path, settings, known=credentials_for(endpoint, name.domain)
            )
        except (Unreachable, Interrupted, Refused) as error:
            problem = error
            continue
        answered = True
        yield registry
    if not answered and problem is not None:
        raise problem


def connect_for_push(name: Reference) -> Registry:
    """Connect to the registry of a name for a push, never to a mirror."""
    settings = Settings()
    for endpoint in settings.endpoints(name.domain, mirrors=False):
        known = credentials_for(endpoint, name.domain)
        return connect(endpoint, name.path, settings, actions="pull,push", known=known)
    raise Unreachable(
        f"the registry {name.domain} is blocked by configuration",
        hint="see blocked-registries in registries.json",
    )


def not_found_error(name: Reference, problem: RegistryError | None) -> RegistryError | NotFound:
    """The error for an image that no server has, with Docker's message."""
    if not isinstance(problem, Refused) or problem.status not in _NOT_THERE:
        return problem or RegistryError(f"no registry has {name.familiar}")
    if "BLOB_UNKNOWN" in problem.codes:
        return RegistryError(f"{name.familiar} is incomplete in its registry: {problem}")
    if problem.status == 404 and "NAME_UNKNOWN" not in problem.codes:
        return NotFound(f"manifest for {name.familiar} not found: {problem}")
    if str(problem) == "no basic auth credentials":
        return problem
    return RegistryError(
        f"pull access denied for {name.familiar_name}, repository does not exist or may require "
        f"'minidock login': {problem}",
        hint=problem.hint,
    )


def connect(
    endpoint: Endpoint,
    path: str,
    settings: Settings,
    *,
    actions: str = "pull",
    known: Credentials | None = None,
) -> Registry:
    """Connect to a registry: by https, or by http if that is allowed and https fails.

    actions: of the token scope: "pull" or "pull,push". Raises Unreachable, Refused.
    """
    for scheme in (endpoint.scheme,) if endpoint.scheme else ("https", "http"):
        transport = Transport(settings, endpoint)
        url = f"{scheme}://{endpoint.host}"
        authorizer = Authorizer(transport, url, known)
        try:
            response = transport.send("GET", f"{url}/v2/")
        except (Unreachable, Interrupted):
            transport.close()
            if endpoint.scheme or scheme == "http":
                raise
            continue
        content = drain(response)
        if response.status == 401:
            authorizer.set_challenges(response.headers.get("WWW-Authenticate", ""))
        elif response.status == 404:
            raise Unreachable(f"{url}/v2/ does not exist: {endpoint.host} is not a registry")
        elif response.status not in (200, *RETRY_STATUSES):
            raise refused_error(response, content)
        return Registry(transport, url, path, authorizer, settings, actions=actions)
    raise AssertionError("unreachable")


def credentials_for(endpoint: Endpoint, domain: str) -> Credentials | None:
    """The credentials for an endpoint; a mirror never gets those of docker.io."""
    return credentials.find(endpoint.host if endpoint.is_mirror else domain)
