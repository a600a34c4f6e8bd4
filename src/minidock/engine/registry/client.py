"""Client of one repository of a registry: the requests of the OCI distribution protocol.

    GET  /v2/                            is this a registry? its authentication challenge
    GET  /v2/NAME/manifests/REFERENCE    a manifest, by tag or digest
    HEAD /v2/NAME/blobs/DIGEST           does the blob exist?
    GET  /v2/NAME/blobs/DIGEST           the blob, from any offset (Range)
    GET  /v2/NAME/tags/list              all tags, page by page (Link)
    POST /v2/NAME/blobs/uploads/         upload.py
    PUT  /v2/NAME/manifests/REFERENCE    upload a manifest

A temporary failure (5xx, 429, a broken connection) is retried with exponential backoff, or after
the registry's Retry-After; a refusal is not retried.

Source: OCI distribution-spec v1.1; distribution.github.io "HTTP API V2".
"""

from __future__ import annotations

import threading
import time
from urllib.parse import urlsplit

from minidock import jsontext
from minidock.engine.registry.auth import Authorizer
from minidock.engine.registry.response import Refused, drain, read_content, refused_error
from minidock.engine.registry.settings import Settings
from minidock.engine.registry.transport import Interrupted, Transport, printable, resolve_url
from minidock.errors import RegistryError
from minidock.numerals import is_decimal
from minidock.oci.digest import sha256
from minidock.oci.manifest import ACCEPTED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from urllib3 import BaseHTTPResponse as Response

    from minidock.engine.registry.transport import Body

ATTEMPTS = 5
FIRST_PAUSE_SECONDS = 0.25  # doubles with each attempt
_PAUSE_SECONDS_MAX = 60.0
RETRY_STATUSES = (429, 500, 502, 503, 504)
_TAG_PAGES_MAX = 1000
_TAG_SECONDS_MAX = 300.0
_DIGEST_HEADER = "Docker-Content-Digest"


class Manifest:
    """A manifest or an index, byte for byte. digest: computed from the content."""

    def __init__(self, content: bytes, media_type: str) -> None:
        self.content = content
        self.media_type = media_type
        self.digest = sha256(content)


class Registry:
    """A connected registry, and one repository of it.

    host: as in its URL. path: the repository, such as "library/busybox".
    cancelled: set by `cancel`.
    """

    def __init__(
        self,
        transport: Transport,
        url: str,
        path: str,
        authorizer: Authorizer,
        settings: Settings,
        *,
        actions: str,
    ) -> None:
        self.host = urlsplit(url).netloc
        self.path = path
        self.timeout_seconds = settings.timeout_seconds
        self.cancelled = threading.Event()
        self.scopes = (f"repository:{path}:{actions}",)
        self._transport = transport
        self._url = url
        self._authorizer = authorizer

    def __enter__(self) -> Registry:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._transport.close()

    def manifest(self, reference: str) -> Manifest:
        """Fetch the manifest of a tag or digest. Raises Refused with status 404 if missing."""
        response = self.request(
            "GET", f"manifests/{reference}", headers={"Accept": ", ".join(ACCEPTED)}
        )
        content = read_content(response)
        found = Manifest(content, response.headers.get("Content-Type", "").partition(";")[0])
        is_digest = ":" in reference
        promised = reference if is_digest else response.headers.get(_DIGEST_HEADER, found.digest)
        if promised.startswith("sha256:") and found.digest != promised:
            raise RegistryError(
                f"manifest verification failed for digest {promised}: it is {found.digest}",
                hint="the registry, or something on the way to it, has changed the manifest",
            )
        return found

    def blob(self, digest: str, *, offset: int = 0) -> Response:
        """Open a blob at an offset, if the registry supports Range; the content is unread."""
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        return self.request("GET", f"blobs/{digest}", headers=headers, expected=(200, 206))

    def has_blob(self, digest: str) -> bool:
        """Whether the repository has a blob."""
        response = self.request("HEAD", f"blobs/{digest}", expected=(200, 404))
        response.release_conn()
        return response.status == 200

    def tags(self) -> Iterator[str]:
        """All tags of the repository."""
        url = self.url_of("tags/list")
        seen = {url}
        until = time.monotonic() + _TAG_SECONDS_MAX
        while True:
            response = self.request("GET", url)
            document = _object(read_content(response), "its list of tags")
            listed = document.get("tags") or []
            if not isinstance(listed, list) or not all(isinstance(tag, str) for tag in listed):
                raise RegistryError("the registry's list of tags is damaged")
            yield from listed
            link = response.headers.get("Link", "")
            if not (link.startswith("<") and ">" in link):
                return
            url = resolve_url(url, link[1:].partition(">")[0])
            if url in seen or len(seen) >= _TAG_PAGES_MAX or time.monotonic() > until:
                raise RegistryError(f"the list of tags of {self.path} is endless")
            if not url.startswith(f"{self._url}/"):
                raise RegistryError(
                    f"the list of tags continues on another server: {printable(url)}"
                )
            seen.add(url)

    def put_manifest(self, reference: str, content: bytes, media_type: str) -> None:
        """Upload a manifest under a tag or its digest; its blobs must exist."""
        response = self.request(
            "PUT",
            f"manifests/{reference}",
            headers={"Content-Type": media_type},
            body=content,
            expected=(200, 201, 202),
        )
        drain(response)

    def request(
        self,
        method: str,
        path_or_url: str,
        *,
        headers: dict[str, str] | None = None,
        body: Body | None = None,
        expected: tuple[int, ...] = (200,),
        scopes: tuple[str, ...] | None = None,
        attempts: int = ATTEMPTS,
    ) -> Response:
        """Send a request, with retries, until its status is an expected one.

        path_or_url: relative to the repository, or a URL. scopes: of the token, by default those of
        the repository. A streamed body is sent once, since it cannot be repeated.
        Raises Refused, Unreachable, Interrupted.
        """
        if body is not None and not isinstance(body, bytes):
            attempts = 1
        for attempt in range(1, attempts + 1):
            pause = min(FIRST_PAUSE_SECONDS * 2 ** (attempt - 1), _PAUSE_SECONDS_MAX)
            try:
                response = self._authorized(method, self.url_of(path_or_url), headers, body, scopes)
            except Interrupted:
                if attempt == attempts:
                    raise
                self.wait(pause)
                continue
            if response.status in expected:
                return response
            content = drain(response)
            if response.status not in RETRY_STATUSES or attempt == attempts:
                raise self._refusal(response, content)
            self.wait(_retry_after(response, pause))
        raise AssertionError("unreachable")

    @property
    def root(self) -> str:
        """The base URL of the API, .../v2/."""
        return f"{self._url}/v2/"

    def identity_token(self) -> str:
        """Authenticate; returns an identity token that replaces the password, "" for none.

        Raises Refused if the registry rejects the credentials.
        """
        token = self._authorizer.identity_token()
        if not token:
            drain(self.request("GET", self.root, scopes=()))
        return token

    def cancel(self) -> None:
        """Cancel all requests to this registry, in all threads."""
        self.cancelled.set()
        self._transport.interrupt()

    def wait(self, seconds: float) -> None:
        """Sleep. Raises Interrupted as soon as `cancel` is called."""
        if self.cancelled.wait(seconds):
            raise Interrupted("given up")

    def _authorized(
        self,
        method: str,
        url: str,
        headers: dict[str, str] | None,
        body: Body | None,
        scopes: tuple[str, ...] | None,
    ) -> Response:
        """Send a request with authorization; on 401, read the challenge and send it once more."""
        required = self.scopes if scopes is None else scopes
        for is_last in (False, True):
            sent = dict(headers or {})
            own = url.startswith(f"{self._url}/")  # an upload URL may be on another server
            if own and (authorization := self._authorizer.header(required)):
                sent["Authorization"] = authorization
            response = self._transport.send(method, url, headers=sent, body=body)
            challenge = response.headers.get("WWW-Authenticate", "")
            stream = body is not None and not isinstance(body, bytes)
            if response.status != 401 or is_last or not challenge or stream or not own:
                break
            if "Authorization" in sent and not sent["Authorization"].startswith("Bearer"):
                break  # the password is wrong: no retry
            drain(response)
            self._authorizer.set_challenges(challenge)
        return response

    def _refusal(self, response: Response, content: bytes) -> Refused:
        error = refused_error(response, content)
        if response.status == 401 and self._authorizer.lacks_password:
            error = Refused("no basic auth credentials", status=401, codes=error.codes)
        if response.status in (401, 403):
            error.hint = f"minidock login {self.host}     tells the registry who you are"
        return error

    def url_of(self, path_or_url: str) -> str:
        """The URL of a path relative to the repository; a URL stays as it is."""
        return resolve_url(f"{self._url}/v2/{self.path}/", path_or_url)


def _retry_after(response: Response, pause: float) -> float:
    """The pause of the Retry-After header, limited, or the default."""
    asked = response.headers.get("Retry-After", "")
    return min(float(asked), _PAUSE_SECONDS_MAX) if is_decimal(asked) else pause


def _object(content: bytes, what: str) -> dict[str, object]:
    try:
        document = jsontext.loads(content)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise RegistryError(f"the registry's response is not {what}")
    return document
