"""The registry blobs of each layer, so that a push can skip or mount existing blobs.

    layers/<chain id>/blobs.json   [{"digest", "size", "media_type", "at": ["host/path", …]}, …]

The same layer, compressed by another program, is another blob with another digest. Pull and push
record each blob with its repositories; a later push first checks for that blob (HEAD) or mounts it
from another repository, before it compresses the layer. Only blobs that were downloaded and
unpacked, or compressed and uploaded, are recorded: a registry's manifest alone does not prove that
a blob contains a layer. A push always checks that the blob still exists; without the file it only
takes longer.

Source: moby distribution/metadata/v2_metadata_service.go, for the idea.
"""

from __future__ import annotations

from minidock import document, jsontext
from minidock.errors import DamagedFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.document import Shape
    from minidock.document_types.image import BlobRecord
    from minidock.paths import Store

_BLOBS_MAX = 8
_REPOSITORIES_MAX = 16


_SHAPE: Shape = [{"digest": str, "size": int, "media_type": str, "at": [str]}]


class Blob:
    """A blob of a layer. at: its repositories as "host/path", the most recent first."""

    def __init__(self, digest: str, size: int, media_type: str, at: tuple[str, ...] = ()) -> None:
        self.digest = digest
        self.size = size
        self.media_type = media_type
        self.at = at


def list_blobs(store: Store, chain_id: str) -> list[Blob]:
    """The known blobs of a layer, the most recent first."""
    try:
        entries: list[BlobRecord] = document.read(_path(store, chain_id), _SHAPE)
    except (FileNotFoundError, DamagedFile):  # a cache: it is rewritten by the next transfer
        return []
    return [Blob(e["digest"], e["size"], e["media_type"], tuple(e["at"])) for e in entries]


def add_blob(store: Store, chain_id: str, blob: Blob, repository: str) -> None:
    """Record that a repository ("host/path") has this blob of a layer."""
    known = list_blobs(store, chain_id)
    before = next((b for b in known if b.digest == blob.digest), blob)
    at = (repository, *(p for p in before.at if p != repository))[:_REPOSITORIES_MAX]
    if before.at == at:
        return
    others = [b for b in known if b.digest != blob.digest]
    blobs = [Blob(blob.digest, blob.size, blob.media_type, at), *others][:_BLOBS_MAX]
    entries: list[BlobRecord] = [
        {"digest": b.digest, "size": b.size, "media_type": b.media_type, "at": list(b.at)}
        for b in blobs
    ]
    try:
        document.write(_path(store, chain_id), jsontext.dumps(entries), durable=False)
    except FileNotFoundError:
        return  # the layer was removed meanwhile


def _path(store: Store, chain_id: str) -> str:
    return f"{store.layer(chain_id)}/blobs.json"
