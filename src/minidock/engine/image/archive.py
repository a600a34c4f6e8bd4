"""Images from archives: `load` reads archives of `docker save` and OCI tools, `import` a rootfs.

    1  index    the archive's members, as regions of its file          (archive_file.py)
    2  plan     for each image its config, its layers, its names       (oci/archive_manifest.py)
    3  unpack   the layers that the store lacks, in staging/           (layers.py)
    4  add      all images at once, under the store's lock             (images.py)

Only the last step changes the store; a failure before it leaves nothing.
"""

from __future__ import annotations

from minidock.engine.image.archive_file import open_archive
from minidock.engine.image.compression import uncompressed_chunks
from minidock.engine.image.events import emit_image
from minidock.engine.image.image import Image, NewImage
from minidock.engine.image.images import ImageStore
from minidock.engine.image.layers import StagedLayer, unpack_layer
from minidock.engine.store.store import Staging, prepare
from minidock.engine.store.timestamps import timestamp
from minidock.errors import ArchiveError, Conflict
from minidock.oci import archive_manifest, image_config, reference
from minidock.oci.digest import chain_ids, short

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import BinaryIO

    from minidock.document_types.container import ContainerConfig
    from minidock.document_types.image import ImageConfig
    from minidock.engine.image.archive_file import ArchiveFile, Progress, Region
    from minidock.oci.archive_manifest import ArchivedImage
    from minidock.oci.platform import Platform
    from minidock.paths import Store

_ATTEMPTS = 3


def load(store: Store, stream: BinaryIO, *, progress: Progress | None = None) -> list[str]:
    """Add all images of an archive to the store.

    stream: the archive, from a file or a pipe, plain or compressed.
    progress: called with a layer's short digest, the bytes done and the total.
    Returns Docker's lines: "Loaded image: busybox:latest", "Loaded image ID: sha256:…".
    Raises ArchiveError; then nothing of the archive is kept.
    """
    prepare(store)
    with (
        Staging(store, "load") as staging,
        open_archive(stream, staging.path, progress=progress) as archive,
    ):
        planned = [_PlannedImage(image) for image in _images(archive)]
        staged: dict[str, StagedLayer] = {}
        for _ in range(_ATTEMPTS):
            _unpack_missing(store, archive, planned, staged, staging.path, progress)
            missing, moved = ImageStore(store).add_all([i.entry for i in planned], staged)
            if not missing:
                for image in planned:
                    emit_image(store, ImageStore(store).resolve(image.entry.id), "load")
                return list(_lines(planned, moved))
    raise Conflict(
        "layers of this image are being removed as fast as they are loaded",
        hint="wait for the other command, then load it again",
    )


def import_rootfs(
    store: Store,
    stream: BinaryIO,
    ref: str = "",
    *,
    changes: Iterable[str] = (),
    message: str = "",
    platform: str = "",
    progress: Progress | None = None,
) -> Image:
    """Make an image of one layer from the tar archive of a root file system.

    ref: the image's name, "" for none. changes: Dockerfile instructions for its config.
    message: its comment; "" means Docker's "Imported from -". platform: such as "linux/arm64", ""
    for that of this machine.
    Raises ArchiveError, UsageError for an invalid name, change or platform.
    """
    from minidock.engine.dockerfile.config_changes import apply_changes
    from minidock.jsontext import dumps
    from minidock.oci.platform import parse_platform

    names = [reference.parse_tagged(ref).familiar] if ref else []
    run_config = apply_changes(image_config.normalised(None), changes)
    made_for = parse_platform(platform)
    prepare(store)
    with Staging(store, "import") as staging:
        chunks = uncompressed_chunks(stream, what="the archive")
        layer = unpack_layer(
            _with_progress(chunks, "Importing", None, progress), f"{staging.path}/0"
        )
        config = _imported_config(
            run_config, made_for, layer.diff_id, comment=message or "Imported from -"
        )
        image = NewImage(dumps(config).encode(), [layer.diff_id], names)
        ImageStore(store).add_all([image], {layer.diff_id: layer})
    made = ImageStore(store).resolve(image.id)
    for name in names:
        emit_image(store, made, "tag", name=name)
    emit_image(store, made, "import")
    return made


class _PlannedLayer:
    """One layer of an image to be loaded.

    digest: the expected digest of the member itself, "" if unknown.
    """

    def __init__(self, member: str, digest: str, diff_id: str, chain_id: str) -> None:
        self.chain_id = chain_id
        self._member = member
        self._digest = digest
        self._diff_id = diff_id

    def unpack(self, archive: ArchiveFile, path: str, progress: Progress | None) -> StagedLayer:
        """Unpack this layer from the archive and verify its digests."""
        region = archive.open(self._member)
        # For an uncompressed layer, the digest of the member equals the diff_id.
        compressed_digest = "" if self._digest == self._diff_id else self._digest
        source = _HashedRegion(region) if compressed_digest else region
        total = region.end - region.offset
        chunks = uncompressed_chunks(source, what=f"the layer {short(self._diff_id)}")
        layer = unpack_layer(
            _with_progress(chunks, short(self._diff_id), (region, total), progress),
            path,
            diff_id=self._diff_id,
        )
        if isinstance(source, _HashedRegion) and source.digest() != compressed_digest:
            raise ArchiveError(
                f"the contents of the blob {compressed_digest} do not match its digest",
                hint="the archive was damaged or changed; fetch or save it again",
            )
        return layer


class _PlannedImage:
    """One image to be loaded, with a validated config."""

    def __init__(self, archived: ArchivedImage) -> None:
        diff_ids = image_config.diff_ids(image_config.parse(archived.config))
        if len(diff_ids) != len(archived.layers):
            raise ArchiveError(
                f"invalid manifest, layers length mismatch: expected {len(diff_ids)}, "
                f"got {len(archived.layers)}"
            )
        chain = chain_ids(diff_ids)
        self.layers = [
            _PlannedLayer(member, digest, diff_id, chain_id)
            for (member, digest), diff_id, chain_id in zip(
                archived.layers, diff_ids, chain, strict=True
            )
        ]
        self.entry = NewImage(archived.config, chain, archived.names)
        self.entry.parent = archived.parent


class _HashedRegion:
    """A region that hashes its bytes as they are read."""

    def __init__(self, region: Region) -> None:
        import hashlib

        self._region = region
        self._hash = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        content = self._region.read(size)
        self._hash.update(content)
        return content

    def digest(self) -> str:
        """The digest of the whole region, including its unread rest."""
        while self.read(1 << 18):
            pass
        return f"sha256:{self._hash.hexdigest()}"


def _imported_config(
    run_config: ContainerConfig, platform: Platform, diff_id: str, *, comment: str
) -> ImageConfig:
    """The image's config: of one layer, with a history of one entry."""
    created = timestamp()
    variant = "/".join(str(platform).split("/")[2:])  # empty for the default variant
    config: ImageConfig = {
        "architecture": platform.architecture,
        "comment": comment,
        "config": run_config,
        "created": created,
        "history": [{"created": created, "comment": comment}],
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
    }
    if variant:
        config["variant"] = variant
    return config


def _images(archive: ArchiveFile) -> list[ArchivedImage]:
    """The images that the archive lists; Docker's manifest.json precedes index.json."""
    if "manifest.json" in archive:
        images = archive_manifest.from_docker(archive.read_document)
    elif "index.json" in archive:
        images = archive_manifest.from_oci(archive.read_document)
    else:
        raise ArchiveError(
            "this is not an image archive: it has neither manifest.json nor index.json",
            hint="'minidock import' makes an image of a root file system's tar",
        )
    if not images:
        raise ArchiveError("the archive contains no image")
    return images


def _unpack_missing(
    store: Store,
    archive: ArchiveFile,
    planned: list[_PlannedImage],
    staged: dict[str, StagedLayer],
    staging: str,
    progress: Progress | None,
) -> None:
    """Unpack layers that neither the store nor `staged` has, and add them to `staged`."""
    for image in planned:
        for layer in image.layers:
            if layer.chain_id not in staged and not _has_layer(store, layer.chain_id):
                path = f"{staging}/{len(staged)}"
                staged[layer.chain_id] = layer.unpack(archive, path, progress)


def _has_layer(store: Store, chain_id: str) -> bool:
    import os

    return os.path.isdir(store.layer(chain_id))


def _with_progress(
    chunks: Iterator[bytes],
    label: str,
    region: tuple[Region, int] | None,
    progress: Progress | None,
) -> Iterator[bytes]:
    """Pass chunks through and report progress."""
    done = 0
    for chunk in chunks:
        done += len(chunk)
        if progress is not None and region is None:
            progress(label, done, None)
        elif progress is not None and region is not None:
            progress(label, region[1] - (region[0].end - region[0].offset), region[1])
        yield chunk


def _lines(planned: list[_PlannedImage], moved: dict[str, str]) -> Iterator[str]:
    for image in planned:
        for name in image.entry.names:
            if name in moved:
                yield (
                    f"The image {name} already exists, renaming the old one with ID "
                    f"{moved.pop(name)} to empty string"
                )
            yield f"Loaded image: {name}"
        if not image.entry.names:
            yield f"Loaded image ID: {image.entry.id}"
