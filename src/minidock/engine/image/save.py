"""`save`: images as an archive that Docker, Podman and skopeo read.

    oci-layout, index.json, blobs/sha256/…      the OCI image layout
    manifest.json, repositories                 Docker's index files, which name the same blobs

This is the format of Docker 25 and later. The layers are rebuilt byte for byte from their files and
tar-split.z, so that image IDs and layer digests stay the same. All sizes are known in advance, so
the archive can be streamed to a pipe.

Sources: OCI image-spec image-layout.md; moby image/tarexport/save.go.
"""

from __future__ import annotations

import json

from minidock.engine.image.events import emit_image
from minidock.engine.image.image import Image
from minidock.engine.image.images import ImageStore
from minidock.engine.image.layers import layer_archive, read_layer
from minidock.errors import ImageNotFound, NotFound
from minidock.oci import image_config, manifest, reference, tar_writer
from minidock.oci.archive_manifest import NAME, REF_NAME, blob_name
from minidock.oci.digest import PREFIX, is_hex, sha256, short
from minidock.oci.tar_header import DIRECTORY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import BinaryIO

    from minidock.document_types.image import ArchiveEntry, Descriptor
    from minidock.engine.image.archive_file import Progress
    from minidock.paths import Store


def save(
    store: Store, refs: Iterable[str], stream: BinaryIO, *, progress: Progress | None = None
) -> None:
    """Write images with their layers and names as one archive.

    refs: names, saved with that name; names without a tag, saved with all their tags; IDs, saved
    without a name. stream: a file or a pipe.
    progress: called with a layer's short digest, the bytes done and the total.
    Raises NotFound before anything is written, StoreError if a layer's files were changed.
    """
    chosen = _choose(store, list(refs))
    layers: dict[str, str] = {}  # digest -> chain ID: a shared layer is saved once
    documents: dict[str, bytes] = {}
    docker_table: list[ArchiveEntry] = []
    index: list[Descriptor] = []
    repositories: dict[str, dict[str, str]] = {}
    for image, names in chosen:
        layer_digests = image_config.diff_ids(image.config)
        layers.update(zip(layer_digests, image.chain_ids, strict=True))
        descriptors = [
            manifest.descriptor(manifest.LAYER, digest, read_layer(store, chain_id)["tar_size"])
            for digest, chain_id in zip(layer_digests, image.chain_ids, strict=True)
        ]
        content = _manifest(image, descriptors)
        documents[image.id] = image.config_bytes
        documents[sha256(content)] = content
        index += _index_entries(content, names)
        docker_table.append(_docker_entry(image, names, descriptors))
        for name in names:
            parsed = reference.parse(name)
            tags = repositories.setdefault(parsed.familiar_name, {})
            tags[parsed.tag] = (layer_digests or [image.id])[-1].removeprefix(PREFIX)
    tables = {
        "oci-layout": _json({"imageLayoutVersion": "1.0.0"}),
        "index.json": _json({"schemaVersion": 2, "mediaType": manifest.INDEX, "manifests": index}),
        "manifest.json": _json(docker_table),
    }
    if repositories:
        tables["repositories"] = _json(repositories)
    for chunk in _archive(store, tables, documents, layers, progress):
        _write_all(stream, chunk)
    for image, _ in chosen:
        emit_image(store, image, "save")


def _choose(store: Store, refs: list[str]) -> list[tuple[Image, list[str]]]:
    """The images to save, each once, with its names in the archive."""
    images = ImageStore(store)
    names_by_id: dict[str, list[str]] = {}
    found: dict[str, Image] = {}
    for ref in refs:
        for image, names in _resolve_argument(images, ref):
            found[image.id] = image
            kept = names_by_id.setdefault(image.id, [])
            kept += [name for name in names if name not in kept]
    return [(image, names_by_id[image_id]) for image_id, image in found.items()]


def _resolve_argument(images: ImageStore, ref: str) -> Iterator[tuple[Image, list[str]]]:
    """Resolve an argument: an image by name or ID, or all tags of a name without a tag."""
    is_id = ref.startswith(PREFIX) or "@" in ref
    if not is_id and not (len(ref) == 64 and is_hex(ref)):
        parsed = reference.parse(ref)
        tagged = [
            (image, name)
            for image in images.list()
            for name in image.references
            if name == parsed.familiar or name.rpartition(":")[0] == parsed.familiar
        ]
        if tagged:
            yield from ((image, [name]) for image, name in tagged)
            return
    try:
        yield images.resolve(ref), []
    except NotFound as error:
        raise ImageNotFound(f"No such image: {ref}", hint=error.hint) from None


def _manifest(image: Image, layers: list[Descriptor]) -> bytes:
    config = manifest.descriptor(manifest.CONFIG, image.id, len(image.config_bytes))
    return _json(
        {
            "schemaVersion": 2,
            "mediaType": manifest.MANIFEST,
            "config": config,
            "layers": layers,
        }
    )


def _index_entries(content: bytes, names: list[str]) -> Iterator[Descriptor]:
    """The entries of an image in index.json: one for each name, or one without a name."""
    entry = manifest.descriptor(manifest.MANIFEST, sha256(content), len(content))
    for name in names:
        parsed = reference.parse(name)
        yield {
            **entry,
            "annotations": {NAME: str(parsed), REF_NAME: parsed.tag},
        }
    if not names:
        yield entry


def _docker_entry(image: Image, names: list[str], layers: list[Descriptor]) -> ArchiveEntry:
    return {
        "Config": blob_name(image.id),
        "RepoTags": names or None,
        "Layers": [blob_name(layer["digest"]) for layer in layers],
        "LayerSources": {layer["digest"]: layer for layer in layers},
    }


def _archive(
    store: Store,
    tables: dict[str, bytes],
    documents: dict[str, bytes],
    layers: dict[str, str],
    progress: Progress | None,
) -> Iterator[bytes]:
    """The archive in chunks: index files first, so that a reader can plan."""
    for name, content in tables.items():
        yield from _tar_member(name, content)
    for folder in ("blobs", "blobs/sha256"):
        yield tar_writer.header(folder.encode(), DIRECTORY, mode=0o755)
    for digest, content in documents.items():
        yield from _tar_member(blob_name(digest), content)
    for digest, chain_id in layers.items():
        size = read_layer(store, chain_id)["tar_size"]
        yield tar_writer.header(blob_name(digest).encode(), size_bytes=size)
        done = 0
        for chunk in layer_archive(store, chain_id):
            done += len(chunk)
            if progress is not None:
                progress(short(digest), done, size)
            yield chunk
        yield tar_writer.padding(size)
    yield tar_writer.END


def _tar_member(name: str, content: bytes) -> Iterator[bytes]:
    yield tar_writer.header(name.encode(), size_bytes=len(content))
    yield content + tar_writer.padding(len(content))


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _write_all(stream: BinaryIO, content: bytes) -> None:
    """Write all content to a stream that may do short writes."""
    written = stream.write(content)
    while written is not None and written < len(content):
        written += stream.write(memoryview(content)[written:])
