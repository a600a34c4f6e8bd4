"""Upload a blob, unless it exists or can be mounted from another repository.

    HEAD  /v2/NAME/blobs/DIGEST                               does it exist?
    POST  /v2/NAME/blobs/uploads/?mount=DIGEST&from=OTHER     201: mounted from a repository
                                                              that has it; 202: upload it
    POST  /v2/NAME/blobs/uploads/        202, Location        start an upload
    PATCH Location                       202, Location        its bytes, chunked, as produced
    PUT   Location?digest=DIGEST         201                  finish; the registry verifies it

A failed upload is restarted from the first byte: the layer is compressed again, identically.

Source: OCI distribution-spec "Pushing blobs", "Mounting a blob from another repository".
"""

from __future__ import annotations

import hashlib
from urllib.parse import urlencode, urlsplit

from minidock.engine.registry.client import ATTEMPTS, FIRST_PAUSE_SECONDS
from minidock.engine.registry.response import Refused, drain
from minidock.engine.registry.transport import Interrupted, printable, resolve_url
from minidock.errors import RegistryError
from minidock.oci.digest import sha256

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from urllib3 import BaseHTTPResponse as Response

    from minidock.engine.registry.client import Registry

_UPLOADS = "blobs/uploads/"
_BYTES = "application/octet-stream"


def put_blob(registry: Registry, content: bytes) -> str:
    """Upload a small blob unless it exists; returns its digest."""
    digest = sha256(content)
    if not registry.has_blob(digest):
        put_stream(registry, lambda: [content])
    return digest


def put_stream(registry: Registry, make: Callable[[], Iterable[bytes]]) -> tuple[str, int]:
    """Upload a blob as it is produced; returns its digest and size.

    make: returns the chunks from the first one on, once for each attempt. Raises RegistryError.
    """
    for attempt in range(1, ATTEMPTS + 1):
        sent = _SentBytes(registry)
        location = _begin(registry)
        try:
            response = registry.request(
                "PATCH",
                location,
                headers={"Content-Type": _BYTES},
                body=sent.count(make()),
                expected=(202,),
            )
            _commit(registry, _location(registry, response), sent.digest())
            break
        except (Interrupted, Refused) as error:
            if registry.cancelled.is_set() or not _is_temporary(error) or attempt == ATTEMPTS:
                raise
            registry.wait(FIRST_PAUSE_SECONDS * 2 ** (attempt - 1))
            if sent.is_all and registry.has_blob(sent.digest()):
                break  # only the response was lost
    return sent.digest(), sent.size


def _is_temporary(error: Interrupted | Refused) -> bool:
    """Whether a retry may succeed: the registry failed, or lost the upload session."""
    return isinstance(error, Interrupted) or error.status >= 500 or error.status in (404, 416, 429)


def mount(registry: Registry, digest: str, source: str) -> bool:
    """Mount a blob from another repository of the registry; returns False if that fails.

    source: the repository's path.
    """
    query = urlencode({"mount": digest, "from": source})
    response = registry.request(
        "POST",
        f"{_UPLOADS}?{query}",
        expected=(201, 202),
        scopes=(*registry.scopes, f"repository:{source}:pull"),
    )
    if response.status == 202:  # the registry started an upload instead
        _cancel(registry, _location(registry, response))
        return False
    drain(response)
    return True


class _SentBytes:
    """Counts and hashes the sent bytes."""

    def __init__(self, registry: Registry) -> None:
        self.size = 0
        self.is_all = False
        self._registry = registry
        self._hash = hashlib.sha256()

    def count(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            if self._registry.cancelled.is_set():
                raise Interrupted("given up")
            self._hash.update(chunk)
            self.size += len(chunk)
            yield chunk
        self.is_all = True

    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"


def _begin(registry: Registry) -> str:
    response = registry.request("POST", _UPLOADS, expected=(202,))
    return _location(registry, response)


def _commit(registry: Registry, location: str, digest: str) -> None:
    separator = "&" if urlsplit(location).query else "?"
    url = f"{location}{separator}{urlencode({'digest': digest})}"
    response = registry.request(
        "PUT", url, headers={"Content-Type": _BYTES}, expected=(201, 204), attempts=1
    )
    drain(response)


def _cancel(registry: Registry, location: str) -> None:
    try:
        drain(registry.request("DELETE", location, expected=(200, 202, 204)))
    except RegistryError:
        return  # the upload session will expire


def _location(registry: Registry, response: Response) -> str:
    """The URL at which an upload continues, from the Location header."""
    location = response.headers.get("Location", "")
    drain(response)
    if not location:
        raise RegistryError(f"{registry.host} started an upload without a Location header")
    url = resolve_url(registry.url_of(_UPLOADS), location)
    if registry.root.startswith("https:") and not url.startswith("https:"):
        raise RegistryError(
            f"{registry.host} redirects the upload to {printable(url)}, which is not https"
        )
    return url
