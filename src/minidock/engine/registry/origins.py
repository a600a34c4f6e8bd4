"""Which blobs of registries a layer is known as, so that it need not be sent where it is already.

    layers/<chain id>/blobs.json   [{"digest", "size", "media_type", "at": ["host/path", …]}, …]

The same layer, compressed by somebody else, is another blob with another digest. What came from a
registry, or went to one, is remembered with the repositories that have it: a push then asks for
that blob first (HEAD), or has it mounted from its other repository, before it compresses anything.
Only what was downloaded and unpacked, or made and uploaded, is remembered: a registry's word that a
blob holds a layer would not do. Whether the blob is still there is asked again each time; without
the file a push only takes longer.

Source: moby distribution/metadata/v2_metadata_service.go, for the idea.
"""

from __future__ import annotations

from minidock import document, jsontext
from minidock.errors import DamagedFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minidock.paths import Store

_BLOBS_MAX = 8
_REPOSITORIES_MAX = 16


_SHAPE = [{"digest": str, "size": int, "media_type": str, "at": [str]}]


class Blob:
    """A blob that holds a layer, and where it is: repositories as "host/path", the newest first."""

    def __init__(self, digest: str, size: int, media_type: str, at: tuple[str, ...] = ()) -> None:
        self.digest = digest
        self.size = size
        self.media_type = media_type
        self.at = at


def list_blobs(store: Store, chain_id: str) -> list[Blob]:
    """The blobs that a layer is known as, the newest first."""
    try:
        entries = document.read(_path(store, chain_id), _SHAPE)
    except (FileNotFoundError, DamagedFile):  # it only saves a transfer, and is written anew
        return []
    return [Blob(e["digest"], e["size"], e["media_type"], tuple(e["at"])) for e in entries]


def add_blob(store: Store, chain_id: str, blob: Blob, repository: str) -> None:
    """Note that a repository ("host/path") has a layer as this blob."""
    known = list_blobs(store, chain_id)
    before = next((b for b in known if b.digest == blob.digest), blob)
    at = (repository, *(p for p in before.at if p != repository))[:_REPOSITORIES_MAX]
    if before.at == at:
        return
    others = [b for b in known if b.digest != blob.digest]
    blobs = [Blob(blob.digest, blob.size, blob.media_type, at), *others][:_BLOBS_MAX]
    entries: list[dict[str, Any]] = [
        {"digest": b.digest, "size": b.size, "media_type": b.media_type, "at": list(b.at)}
        for b in blobs
    ]
    try:
        document.write(_path(store, chain_id), jsontext.dumps(entries), durable=False)
    except FileNotFoundError:
        return  # the layer was removed meanwhile


def _path(store: Store, chain_id: str) -> str:
    return f"{store.layer(chain_id)}/blobs.json"
