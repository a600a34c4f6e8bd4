"""Download a blob: hash it, resume after a broken connection, verify the digest.

A download that stalls or breaks is resumed at its offset (Range), until it fails five times without
progress. If the registry does not support Range, the known bytes are skipped. The content is
unpacked as it arrives, and used only after its digest is verified.

Source: OCI distribution-spec "Pulling blobs"; RFC 9110 section 14 (Range).
"""

from __future__ import annotations

import hashlib

from minidock.engine.registry.client import ATTEMPTS, FIRST_PAUSE_SECONDS
from minidock.engine.registry.response import Refused
from minidock.engine.registry.transport import Interrupted, read_some
from minidock.errors import RegistryError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from urllib3 import BaseHTTPResponse as Response

    from minidock.engine.registry.client import Registry

_PROGRESS_BYTES = 1 << 20  # this much progress resets the count of failures
_PIECE = 1 << 17


class Blob:
    """A blob of a registry, read once, sequentially.

    size: from its descriptor. on_bytes: called with the bytes read so far.
    on_pause: called with the seconds until the next attempt, and the error.
    """

    def __init__(
        self,
        registry: Registry,
        digest: str,
        size: int,
        *,
        on_bytes: Callable[[int], None] | None = None,
        on_pause: Callable[[float, str], None] | None = None,
    ) -> None:
        self.digest = digest
        self.size = size
        self.offset = 0
        self._registry = registry
        self._on_bytes = on_bytes
        self._on_pause = on_pause
        self._hash = hashlib.sha256()
        self._response: Response | None = None
        self._failures = 0
        self._failed_at = 0
        self._is_verified = False

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes; b"" at the end, after the digest is verified.

        Raises Interrupted after too many failures, RegistryError for a wrong digest.
        """
        if self._is_verified:
            return b""
        wanted = _PIECE if size < 0 else min(size, _PIECE)
        while True:
            try:
                piece = self._piece(wanted)
                break
            except Interrupted as error:
                self._pause_after(error)
        if not piece:
            self._verify()
            return b""
        self._hash.update(piece)
        self.offset += len(piece)
        if self._on_bytes is not None:
            self._on_bytes(self.offset)
        return piece

    def finish(self) -> None:
        """Read the rest, so that the digest is verified."""
        while self.read():
            pass

    def close(self) -> None:
        """Close the connection, also in the middle of the content."""
        if self._response is not None:
            self._response.close()
            self._response = None

    def _piece(self, size: int) -> bytes:
        if self._registry.cancelled.is_set():
            raise Interrupted("given up")
        if self._response is None:
            self._response = self._open()
        piece = read_some(self._response, size, self._registry.timeout_seconds)
        if self.offset + len(piece) > self.size:
            raise self._verification_error(
                f"it is longer than the {self.size} bytes that its descriptor says"
            )
        if not piece and self.offset < self.size:
            raise Interrupted(f"the registry broke off at byte {self.offset} of {self.size}")
        return piece

    def _open(self) -> Response:
        response = self._registry.blob(self.digest, offset=self.offset)
        to_skip = self.offset if response.status == 200 else 0
        if response.status == 206:
            start = response.headers.get("Content-Range", "").removeprefix("bytes ")
            if start.partition("-")[0] != str(self.offset):
                raise RegistryError(
                    f"asked for byte {self.offset}, the registry sent {start[:40]!r}"
                )
        while to_skip:
            skipped = read_some(response, min(to_skip, _PIECE), self._registry.timeout_seconds)
            if not skipped:
                raise Interrupted("the registry broke off")
            to_skip -= len(skipped)
        return response

    def _pause_after(self, error: Interrupted) -> None:
        """Pause before the next attempt; raises the error after the last one."""
        self.close()
        if self._registry.cancelled.is_set():
            raise error
        if self.offset - self._failed_at >= _PROGRESS_BYTES:
            self._failures = 0
        self._failures += 1
        self._failed_at = self.offset
        if self._failures >= ATTEMPTS:
            raise Interrupted(
                f"{error} ({self._failures} times)",
                hint="nothing of the image was stored; pull it again later",
            ) from None
        pause = FIRST_PAUSE_SECONDS * 2 ** (self._failures - 1)
        if self._on_pause is not None:
            self._on_pause(pause, str(error))
        self._registry.wait(pause)

    def _verify(self) -> None:
        if self._response is not None:
            self._response.release_conn()
            self._response = None
        if (found := f"sha256:{self._hash.hexdigest()}") != self.digest:
            raise self._verification_error(f"it is {found}")
        self._is_verified = True

    def _verification_error(self, reason: str) -> RegistryError:
        self.close()
        return RegistryError(
            f"filesystem layer verification failed for digest {self.digest}: {reason}",
            hint="the registry, or something on the way to it, has changed the blob",
        )


def read_document_blob(registry: Registry, digest: str, size: int, *, limit: int) -> bytes:
    """Read a whole blob that is a JSON document. Raises as Blob.read does."""
    if size > limit:
        raise RegistryError(f"the blob {digest} is too large for a document: {size} bytes")
    blob = Blob(registry, digest, size)
    content = b""
    try:
        while piece := blob.read():
            content += piece
    except Refused as error:
        raise RegistryError(f"the blob {digest} of the image: {error}") from None
    finally:
        blob.close()
    return content
