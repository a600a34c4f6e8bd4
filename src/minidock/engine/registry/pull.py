"""`pull`: fetch an image from a registry; download and unpack its layers in parallel.

    1  find      try the mirrors, then the registry                       (settings.py, client.py)
    2  choose    from an index, the manifest for this platform            (oci/manifest.py)
    3  fetch     the config, then each layer that the store lacks:
                   connection → sha256 → decompress → sha256 → unpack in staging/
                 three at a time, without temporary files                 (blob.py, layers.py)
    4  add       all at once, under the store's lock                      (images.py)

Only the last step changes the store; a failure before it leaves nothing. A layer has two digests:
that of the blob, in the manifest, and the diff_id of its uncompressed archive, in the config. Both
are verified.

Source: OCI distribution-spec "Pulling"; moby distribution/pull_v2.go for the messages.
"""

from __future__ import annotations

import os
from functools import partial

from minidock.engine.image import images_json
from minidock.engine.image.compression import uncompressed_chunks
from minidock.engine.image.events import emit_image
from minidock.engine.image.image import Image, NewImage
from minidock.engine.image.images import ImageStore
from minidock.engine.image.layers import unpack_layer
from minidock.engine.registry import origins
from minidock.engine.registry.blob import Blob, read_document_blob
from minidock.engine.registry.client import Manifest, Registry
from minidock.engine.registry.endpoints import not_found_error, registries
from minidock.engine.registry.parallel import run_parallel
from minidock.engine.registry.response import Refused
from minidock.engine.registry.transfer_progress import Reporter
from minidock.engine.registry.transport import Interrupted
from minidock.engine.store.store import Staging, prepare
from minidock.errors import ArchiveError, Conflict, NotFound, RegistryError, StoreError, UsageError
from minidock.oci import image_config, reference
from minidock.oci.digest import chain_ids, short
from minidock.oci.manifest import choose_manifest, parse_manifest
from minidock.oci.platform import Platform, parse_platform

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from minidock.document_types.image import Descriptor
    from minidock.engine.image.layers import StagedLayer
    from minidock.oci.manifest import ImageManifest
    from minidock.oci.reference import Reference
    from minidock.paths import Store

MAX_CONCURRENT_DOWNLOADS = 3  # downloads, as Docker's --max-concurrent-downloads
_ATTEMPTS = 3
_INDEX_DEPTH_MAX = 4


def pull(store: Store, ref: str, *, platform: str = "", progress: Reporter | None = None) -> Image:
    """Pull an image from a registry; layers in the store are not fetched again.

    ref: a name with a tag (default: latest) or a digest. platform: such as "linux/arm64", "" for
    that of this machine. progress: receives Docker's lines.
    Returns the image. Raises RegistryError, NotFound; then nothing of the image is kept.
    """
    name = reference.parse(ref).with_default_tag()
    pulled = _try_registries(
        name, lambda registry: [_pull_one(store, registry, name, platform, progress or Reporter())]
    )
    return _report_status(pulled, name, progress or Reporter())[0]


def pull_all_tags(
    store: Store, ref: str, *, platform: str = "", progress: Reporter | None = None
) -> list[Image]:
    """Pull all tags of a repository. Raises as `pull` does, at the first failure."""
    name = reference.parse(ref)

    def pull_all(registry: Registry) -> list[tuple[Image, bool]]:
        tagged = (_with_tag(name, tag) for tag in registry.tags())
        return [_pull_one(store, registry, one, platform, progress or Reporter()) for one in tagged]

    return _report_status(_try_registries(name, pull_all), name, progress or Reporter())


def _with_tag(name: Reference, tag: str) -> Reference:
    """A name with a tag from a registry's list. Raises RegistryError for an invalid tag."""
    try:
        return reference.parse(f"{name}:{tag}")
    except UsageError:
        raise RegistryError(f"the registry lists {tag[:40]!r}, which is not a valid tag") from None


def _try_registries(
    name: Reference, act: Callable[[Registry], list[tuple[Image, bool]]]
) -> list[tuple[Image, bool]]:
    """Call `act` with each server until one has the image; a mirror may lack it."""
    problem: RegistryError | None = None
    for registry in registries(name):
        with registry:
            try:
                return act(registry)
            except (Refused, Interrupted) as error:
                problem = error
    raise not_found_error(name, problem)


def _pull_one(
    store: Store, registry: Registry, name: Reference, platform: str, progress: Reporter
) -> tuple[Image, bool]:
    """Pull an image from one registry; returns it, and whether it is new."""
    prepare(store)
    wanted = parse_platform(platform)
    manifest = registry.manifest(name.digest or name.tag)
    pulling = _Pull(store, registry, name, wanted, progress)
    image, is_new = pulling.run(manifest)
    if platform:
        _check_platform(image, wanted, name)
    emit_image(store, image, "pull", name=name.familiar_name, actor=name.familiar)
    return image, is_new


def _report_status(
    pulled: list[tuple[Image, bool]], name: Reference, progress: Reporter
) -> list[Image]:
    is_new = any(new for _, new in pulled)
    what = "Downloaded newer image for" if is_new else "Image is up to date for"
    progress.line(f"Status: {what} {name.familiar}")
    return [image for image, _ in pulled]


class _Pull:
    """The pull of one image from a registry."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        name: Reference,
        platform: Platform,
        progress: Reporter,
    ) -> None:
        self._store = store
        self._registry = registry
        self._name = name
        self._platform = platform
        self._progress = progress

    def run(self, top: Manifest) -> tuple[Image, bool]:
        """Fetch missing parts and add the image with its names; returns whether it is new."""
        name = self._name
        what = name.familiar if name.digest else name.tag
        self._progress.line(f"{what}: Pulling from {name.path}")
        manifest = self._for_platform(top)
        by_digest = f"{name.familiar_name}@{top.digest}"
        names = [by_digest] if name.digest else [name.familiar, by_digest]
        image_id = manifest.config["digest"]
        known = images_json.read(self._store)["references"]
        is_new = any(known.get(name) != image_id for name in names)
        if is_new and not self._add_names(manifest, names):
            self._fetch_image(manifest, names)
        self._progress.line(f"Digest: {top.digest}")
        return ImageStore(self._store).resolve(image_id), is_new

    def _add_names(self, manifest: ImageManifest, names: list[str]) -> bool:
        """Add the names to an image that the store has; returns False if it has none."""
        try:
            image = ImageStore(self._store).resolve(manifest.config["digest"])
            ImageStore(self._store).add(image.config_bytes, image.chain_ids, names)
        except (NotFound, StoreError):  # missing, or being removed
            return False
        return True

    def _fetch_image(self, manifest: ImageManifest, names: list[str]) -> None:
        """Fetch the config and the layers, and add the image to the store."""
        descriptor = manifest.config
        limit = image_config.JSON_BYTES_MAX
        config = read_document_blob(
            self._registry, descriptor["digest"], descriptor["size"], limit=limit
        )
        diff_ids = image_config.diff_ids(image_config.parse(config))
        if len(diff_ids) != len(manifest.layers):
            raise ArchiveError(
                f"invalid manifest, layers length mismatch: expected {len(diff_ids)}, "
                f"got {len(manifest.layers)}"
            )
        image = NewImage(config, chain_ids(diff_ids), names)
        parts = zip(manifest.layers, diff_ids, image.chain_ids, strict=True)
        self._add_to_store(image, [_Layer(*part) for part in parts])

    def _for_platform(self, found: Manifest) -> ImageManifest:
        """The manifest itself, or the one for the platform from an index."""
        shown = self._name.familiar
        for _ in range(_INDEX_DEPTH_MAX):
            parsed = parse_manifest(found.content, found.media_type, shown)
            if not isinstance(parsed, list):
                return parsed
            chosen = choose_manifest(parsed, self._platform, shown)
            found = self._registry.manifest(chosen["digest"])
        raise RegistryError(f"the indexes of {shown} are nested too deeply")

    def _add_to_store(self, image: NewImage, layers: list[_Layer]) -> None:
        staged: dict[str, StagedLayer] = {}
        with Staging(self._store, "pull") as staging:
            for _ in range(_ATTEMPTS):
                self._fetch_missing(layers, staged, staging.path)
                missing, _moved = ImageStore(self._store).add_all([image], staged)
                if not missing:
                    break
            else:
                raise Conflict(
                    "layers of this image are being removed as fast as they are pulled",
                    hint="wait for the other command, then pull it again",
                )
        place = f"{self._registry.host}/{self._name.path}"
        for layer in layers:
            if layer.chain_id in staged:  # only these blobs are verified to contain their layers
                blob = origins.Blob(layer.digest, layer.size, layer.media_type)
                origins.add_blob(self._store, layer.chain_id, blob, place)

    def _fetch_missing(
        self, layers: list[_Layer], staged: dict[str, StagedLayer], staging: str
    ) -> None:
        """Download and unpack layers missing in the store and in `staged`; add them to `staged`."""
        missing = []
        for layer in layers:
            if layer.chain_id in staged:
                continue
            if os.path.isdir(self._store.layer(layer.chain_id)):
                self._progress.layer(short(layer.digest), "Already exists")
            else:
                self._progress.layer(short(layer.digest), "Pulling fs layer")
                missing.append(layer)
        tasks = {
            layer.chain_id: partial(self._fetch, layer, f"{staging}/{len(staged) + number}")
            for number, layer in enumerate(missing)
        }
        staged.update(run_parallel(self._registry, tasks, max_workers=MAX_CONCURRENT_DOWNLOADS))

    def _fetch(self, layer: _Layer, path: str) -> StagedLayer:
        """Download and unpack one layer into a new directory."""
        name = short(layer.digest)
        blob = Blob(
            self._registry,
            layer.digest,
            layer.size,
            on_bytes=lambda done: self._progress.layer(name, "Downloading", done, layer.size),
            on_pause=lambda seconds, _: self._progress.layer(
                name, f"Retrying in {seconds:g} seconds"
            ),
        )
        try:
            chunks = uncompressed_chunks(blob, what=f"the layer {name}")
            try:
                unpacked = unpack_layer(chunks, path, diff_id=layer.diff_id)
            except ArchiveError:
                blob.finish()  # a wrong digest is the better error
                raise
            blob.finish()
            self._progress.layer(name, "Download complete")
        finally:
            blob.close()
        self._progress.layer(name, "Pull complete")
        return unpacked


class _Layer:
    """One layer of a manifest: its blob, its diff_id and ChainID."""

    def __init__(self, descriptor: Descriptor, diff_id: str, chain_id: str) -> None:
        self.digest: str = descriptor["digest"]
        self.size: int = descriptor["size"]
        self.media_type = str(descriptor.get("mediaType") or "")
        self.diff_id = diff_id
        self.chain_id = chain_id


def _check_platform(image: Image, wanted: Platform, name: Reference) -> None:
    """Raise RegistryError if a single-platform image is not of the requested platform."""
    machine = image.config.get("architecture") or wanted.architecture
    if machine != wanted.architecture:
        actual = Platform(machine, image.config.get("variant") or "")
        raise RegistryError(
            f"image with reference {name.familiar} was found but does not match the specified "
            f"platform: wanted {wanted}, actual: {actual}"
        )
