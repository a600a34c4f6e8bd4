"""Bringing a blob to a registry: not again, or from next door, or whole.

    HEAD  /v2/NAME/blobs/DIGEST                               is it there already?
    POST  /v2/NAME/blobs/uploads/?mount=DIGEST&from=OTHER     201: linked from a repository that
                                                              has it; 202: send it here
    POST  /v2/NAME/blobs/uploads/        202, Location        begins an upload
    PATCH Location                       202, Location        its bytes, chunked, as they are made
    PUT   Location?digest=DIGEST         201                  the registry hashes too, and compares

An upload that fails is begun again from its first byte: the layer is compressed again as it was.

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
    """Bring a small blob there, unless it is; returns its digest."""
    digest = sha256(content)
    if not registry.has_blob(digest):
        put_stream(registry, lambda: [content])
    return digest


def put_stream(registry: Registry, make: Callable[[], Iterable[bytes]]) -> tuple[str, int]:
    """Bring a blob there as it is made; returns its digest and its size.

    make: gives the chunks, each time from the first one. Raises RegistryError.
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
                break  # only the answer was lost
    return sent.digest(), sent.size


def _is_temporary(error: Interrupted | Refused) -> bool:
    """Whether an upload may succeed the next time: the registry failed, or has forgotten it."""
    return isinstance(error, Interrupted) or error.status >= 500 or error.status in (404, 416, 429)


def mount(registry: Registry, digest: str, source: str) -> bool:
    """Have a blob linked from another repository of the registry; False where that fails.

    source: the repository's path.
    """
    query = urlencode({"mount": digest, "from": source})
    response = registry.request(
        "POST",
        f"{_UPLOADS}?{query}",
        expected=(201, 202),
        scopes=(*registry.scopes, f"repository:{source}:pull"),
    )
    if response.status == 202:  # an upload was begun instead: not wanted
        _cancel(registry, _location(registry, response))
        return False
    drain(response)
    return True


class _SentBytes:
    """What went out, counted and hashed."""

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
        return  # it will expire by itself


def _location(registry: Registry, response: Response) -> str:
    """Where an upload goes on; its answer has nothing else of interest."""
    location = response.headers.get("Location", "")
    drain(response)
    if not location:
        raise RegistryError(f"{registry.host} began an upload without saying where")
    url = resolve_url(registry.url_of(_UPLOADS), location)
    if registry.root.startswith("https:") and not url.startswith("https:"):
        raise RegistryError(
            f"{registry.host} wants the upload sent to {printable(url)}, which is not https"
        )
    return url
