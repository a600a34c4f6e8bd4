"""Manifests of registries, and indexes (Docker's manifest lists) of those for several platforms.

    index ──▶ manifest for linux/amd64 ──▶ config, layers          all by digest and size
          └─▶ manifest for linux/arm64 ──▶ …

Docker's schema 2 and OCI's documents differ only in their media types; both are supported. Schema 1
of 2014 is refused: its digests can be forged.

The manifests of an archive of `save` are read by archive_manifest.py.

Source: OCI image-spec manifest.md, image-index.md; distribution.github.io "Image Manifest
Version 2, Schema 2".
"""

from __future__ import annotations

from minidock import jsontext
from minidock.errors import RegistryError
from minidock.oci.digest import is_digest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.document_types.image import Descriptor
    from minidock.oci.platform import Platform

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
ACCEPTED = (MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_LIST)
_INDEXES = (INDEX, DOCKER_LIST)
_CONFIGS = (CONFIG, DOCKER_CONFIG)


class ImageManifest:
    """A manifest: the descriptors of its config and of its layers, lowest first."""

    def __init__(self, config: Descriptor, layers: list[Descriptor]) -> None:
        self.config = config
        self.layers = layers


def parse_manifest(content: bytes, media_type: str, what: str) -> ImageManifest | list[Descriptor]:
    """Parse a manifest, or an index; returns the entries of the latter.

    media_type: from the registry; the document's own mediaType takes precedence.
    what: its name, for errors. Raises RegistryError for any other document.
    """
    try:
        document = jsontext.loads(content)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise RegistryError(f"the manifest of {what} is not a JSON object")
    if document.get("schemaVersion") == 1:
        raise RegistryError(
            f"{what} is an image of the manifest schema 1, which is not supported",
            hint="push it again with a current version of Docker",
        )
    media_type = document.get("mediaType") or media_type
    if media_type and media_type not in ACCEPTED:
        raise RegistryError(
            f"the manifest of {what} is of an unknown media type: {media_type!r:.100}",
            hint="it is not an image, or the server is not a registry",
        )
    if media_type in _INDEXES or "manifests" in document:
        return _descriptors(document, "manifests", what)
    config = _descriptors({"config": [document.get("config")]}, "config", what)[0]
    if (kind := config.get("mediaType")) not in _CONFIGS:
        raise RegistryError(
            f"{what} is not a container image: its config is of type {kind!r}",
            hint="registries also store other artifacts: charts, signatures, modules",
        )
    return ImageManifest(config, _descriptors(document, "layers", what))


def descriptor(media_type: str, digest: str, size_bytes: int) -> Descriptor:
    """Create a descriptor, by which an index or a manifest refers to a blob."""
    return {"mediaType": media_type, "digest": digest, "size": size_bytes}


def choose_manifest(entries: list[Descriptor], platform: Platform, what: str) -> Descriptor:
    """Choose the entry of an index that fits a platform best; the first of several equal ones.

    Raises RegistryError with Docker's message if none fits.
    """
    best, best_fit = None, 0
    for entry in entries:
        if (fit := platform.fit(entry.get("platform"))) > best_fit:
            best, best_fit = entry, fit
    if best is not None:
        return best
    if len(entries) == 1 and not entries[0].get("platform"):
        return entries[0]
    offered = sorted({text for e in entries if (text := _shown(e.get("platform")))})
    raise RegistryError(
        f"no matching manifest for {platform} in the manifest list entries of {what}",
        hint=f"available: {', '.join(offered)}" if offered else "",
    )


def _shown(platform: object) -> str:
    """A platform as text; "" for that of an attestation, and for what is not a platform."""
    if not isinstance(platform, dict) or platform.get("os") == "unknown":
        return ""
    parts = (platform.get("os"), platform.get("architecture"), platform.get("variant"))
    shown = "/".join(str(part) for part in parts if part)
    return "".join(c for c in shown if c.isprintable())[:40]


def _descriptors(document: dict[str, object], field: str, what: str) -> list[Descriptor]:
    entries = document.get(field)
    if not isinstance(entries, list):
        raise RegistryError(f"the manifest of {what} has no list of {field}")
    for entry in entries:
        size = entry.get("size") if isinstance(entry, dict) else None
        if not (isinstance(size, int) and size >= 0 and is_digest(entry.get("digest"))):
            raise RegistryError(
                f"the manifest of {what}: a descriptor in {field} has no sha256 digest or no size"
            )
    return entries
