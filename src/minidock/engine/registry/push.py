"""`push`: upload an image to a registry, without the blobs that it has already.

    1  check     which layers does the repository have, under which digests?   (origins.py)
    2  upload    the others, two at a time, each in one stream:
                   files and tar-split → tar → sha256 → gzip → sha256 → connection
    3  config    byte for byte; its digest is the image's ID
    4  manifest  last, since it may reference only existing blobs

A layer's archive is rebuilt byte for byte and compressed while it is sent, without a temporary
file. The manifest is Docker's schema 2, formatted as by Docker, so that the same blobs give the
same digest; with a zstd layer, which schema 2 does not define, it is an OCI manifest.

Source: OCI distribution-spec "Pushing"; moby distribution/push_v2.go for messages and order.
"""

from __future__ import annotations

from functools import partial

from minidock.engine.image import images_json
from minidock.engine.image.compression import gzip_chunks
from minidock.engine.image.events import emit_image
from minidock.engine.image.image import Image
from minidock.engine.image.images import ImageStore
from minidock.engine.image.layers import layer_archive, read_layer
from minidock.engine.registry import origins
from minidock.engine.registry.client import Registry
from minidock.engine.registry.endpoints import connect_for_push
from minidock.engine.registry.parallel import run_parallel
from minidock.engine.registry.transfer_progress import Reporter
from minidock.engine.registry.upload import mount, put_blob, put_stream
from minidock.errors import NotFound, UsageError
from minidock.oci import image_config, manifest, reference
from minidock.oci.digest import sha256, short

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from minidock.engine.registry.origins import Blob
    from minidock.oci.reference import Reference
    from minidock.paths import Store

MAX_CONCURRENT_UPLOADS = 2  # layers; each is compressed by two threads
_KNOWN_MAX = 3  # known digests to check before a layer is compressed
_MOUNTS_MAX = 3
_GZIP = (manifest.DOCKER_LAYER, f"{manifest.LAYER}+gzip")
_ZSTD = (f"{manifest.LAYER}+zstd",)


def push(store: Store, ref: str, *, progress: Reporter | None = None) -> str:
    """Push an image to the registry of its name; returns the manifest's digest.

    ref: a name, by default with the tag latest. progress: receives Docker's lines.
    Raises NotFound if no image has that name, UsageError for a digest, RegistryError.
    """
    progress = progress or Reporter()
    name = _pushable(ref).with_default_tag()
    progress.line(f"The push refers to repository [{name.domain}/{name.path}]")
    image = _image(store, name)
    with connect_for_push(name) as registry:
        return _Push(store, registry, name, progress).run(image)


def push_all_tags(store: Store, ref: str, *, progress: Reporter | None = None) -> list[str]:
    """Push all tags of a repository; returns the digests. Raises as `push` does."""
    progress = progress or Reporter()
    name = _pushable(ref)
    tags = [
        tagged
        for image in ImageStore(store).list()
        for tagged in map(reference.parse, image.references)
        if tagged.familiar_name == name.familiar_name
    ]
    progress.line(f"The push refers to repository [{name.domain}/{name.path}]")
    if not tags:
        raise _no_image(name)
    with connect_for_push(name) as registry:
        return [
            _Push(store, registry, tagged, progress).run(_image(store, tagged))
            for tagged in sorted(tags, key=str)
        ]


class _Push:
    """The push of one image to a repository."""

    def __init__(
        self, store: Store, registry: Registry, name: Reference, progress: Reporter
    ) -> None:
        self._store = store
        self._registry = registry
        self._name = name
        self._progress = progress
        self._repository = f"{registry.host}/{name.path}"

    def run(self, image: Image) -> str:
        """Upload missing blobs, then the manifest; returns its digest."""
        diff_ids = image_config.diff_ids(image.config)
        layers = dict(zip(diff_ids, image.chain_ids, strict=True))  # equal layers are uploaded once
        for diff_id in reversed(layers):
            self._progress.layer(short(diff_id), "Preparing")
        blobs = self._send_all(layers)
        put_blob(self._registry, image.config_bytes)
        content, media_type = _manifest(image, [blobs[diff_id] for diff_id in diff_ids])
        self._registry.put_manifest(self._name.tag, content, media_type)
        for diff_id, chain_id in layers.items():
            origins.add_blob(self._store, chain_id, blobs[diff_id], self._repository)
        digest = sha256(content)
        by_digest = f"{self._name.familiar_name}@{digest}"
        ImageStore(self._store).add(image.config_bytes, image.chain_ids, [by_digest])
        self._progress.line(f"{self._name.tag}: digest: {digest} size: {len(content)}")
        about, actor = self._name.familiar_name, self._name.familiar
        emit_image(self._store, image, "push", name=about, actor=actor)
        return digest

    def _send_all(self, layers: dict[str, str]) -> dict[str, Blob]:
        """Upload all layers; returns the blob of each."""
        tasks = {
            diff_id: partial(self._send, diff_id, chain_id) for diff_id, chain_id in layers.items()
        }
        return run_parallel(self._registry, tasks, max_workers=MAX_CONCURRENT_UPLOADS)

    def _send(self, diff_id: str, chain_id: str) -> Blob:
        """Upload one layer, or find or mount an existing blob of it."""
        name = short(diff_id)
        known = [
            b for b in origins.list_blobs(self._store, chain_id) if b.media_type in _GZIP + _ZSTD
        ]
        for blob in known[:_KNOWN_MAX]:
            if self._registry.has_blob(blob.digest):
                self._progress.layer(name, "Layer already exists")
                return blob
        for blob, source in self._mount_sources(known):
            if mount(self._registry, blob.digest, source):
                self._progress.layer(name, f"Mounted from {source}")
                return blob
        total = read_layer(self._store, chain_id)["tar_size"]
        digest, size = put_stream(
            self._registry, lambda: gzip_chunks(self._archive(chain_id, name, total))
        )
        self._progress.layer(name, "Pushed")
        return origins.Blob(digest, size, manifest.DOCKER_LAYER)

    def _mount_sources(self, known: list[Blob]) -> Iterator[tuple[Blob, str]]:
        """Other repositories of this registry that are known to have the layer."""
        count = 0
        for blob in known:
            for place in blob.at:
                host, _, path = place.partition("/")
                if host == self._registry.host and path != self._name.path and count < _MOUNTS_MAX:
                    count += 1
                    yield blob, path

    def _archive(self, chain_id: str, name: str, total: int) -> Iterator[bytes]:
        done = 0
        for chunk in layer_archive(self._store, chain_id):
            yield chunk
            done += len(chunk)
            self._progress.layer(name, "Pushing", done, total)


def _manifest(image: Image, blobs: list[Blob]) -> tuple[bytes, str]:
    """The manifest's bytes and its media type."""
    import json

    is_oci = any(blob.media_type in _ZSTD for blob in blobs)
    media_type = manifest.MANIFEST if is_oci else manifest.DOCKER_MANIFEST
    gzip_type = _GZIP[1] if is_oci else _GZIP[0]
    document = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": {
            "mediaType": manifest.CONFIG if is_oci else manifest.DOCKER_CONFIG,
            "size": len(image.config_bytes),
            "digest": image.id,
        },
        "layers": [
            {
                "mediaType": gzip_type if blob.media_type in _GZIP else blob.media_type,
                "size": blob.size,
                "digest": blob.digest,
            }
            for blob in blobs
        ],
    }
    return json.dumps(document, indent=3).encode(), media_type


def _pushable(ref: str) -> Reference:
    name = reference.parse(ref)
    if name.digest:
        raise UsageError("cannot push a digest reference")
    return name


def _image(store: Store, name: Reference) -> Image:
    """The image with exactly this name; a push accepts no ID. Raises NotFound."""
    found = images_json.read(store)["references"]
    if name.familiar not in found:
        with_other_tags = any(
            known.rpartition(":")[0] == name.familiar_name for known in found if "@" not in known
        )
        if with_other_tags:
            raise NotFound(f"tag does not exist: {name.familiar}")
        raise _no_image(name)
    return ImageStore(store).resolve(name.familiar)


def _no_image(name: Reference) -> NotFound:
    return NotFound(
        f"An image does not exist locally with the tag: {name.familiar_name}",
        hint=f"minidock tag IMAGE {name.familiar}     tags an image with this name",
    )
