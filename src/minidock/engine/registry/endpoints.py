"""From a name to a registry that answers: the mirrors in turn, then the registry itself.

A server is first asked whether it is a registry at all (GET /v2/); its answer also says what it
demands of us. A mirror that is not there, or has not got the image, is passed over.

Source: moby registry/service_v2.go (lookupV2Endpoints), distribution/errors.go for the words.
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
    """The servers that answer, in the order in which they are to be asked.

    Raises Unreachable, with what the last one was refused for, where no one does.
    """
    settings = Settings()
    endpoints = settings.endpoints(name.domain)
    if not endpoints:
        raise Unreachable(
            f"{name.domain} is not asked for images here",
            hint="blocked-registries in registries.json names it",
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
    """The registry of a name: mirrors are not pushed to."""
    settings = Settings()
    for endpoint in settings.endpoints(name.domain, mirrors=False):
        known = credentials_for(endpoint, name.domain)
        return connect(endpoint, name.path, settings, actions="pull,push", known=known)
    raise Unreachable(
        f"nothing is pushed to {name.domain} from here",
        hint="blocked-registries in registries.json names it",
    )


def not_found_error(name: Reference, problem: RegistryError | None) -> RegistryError | NotFound:
    """Why no one has the image, in Docker's words."""
    if not isinstance(problem, Refused) or problem.status not in _NOT_THERE:
        return problem or RegistryError(f"no registry has {name.familiar}")
    if "BLOB_UNKNOWN" in problem.codes:
        return RegistryError(f"{name.familiar} is incomplete where it comes from: {problem}")
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
    """Find a registry at an endpoint: https, or http where that is allowed and https is not there.

    actions: what is to be done: "pull" or "pull,push". Raises Unreachable, Refused.
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
            raise Unreachable(f"{url}/v2/ is not there: {endpoint.host} is no registry")
        elif response.status not in (200, *RETRY_STATUSES):
            raise refused_error(response, content)
        return Registry(transport, url, path, authorizer, settings, actions=actions)
    raise AssertionError("unreachable")


def credentials_for(endpoint: Endpoint, domain: str) -> Credentials | None:
    """Who we are to an endpoint: docker.io's password is not for its mirrors."""
    return credentials.find(endpoint.host if endpoint.is_mirror else domain)
