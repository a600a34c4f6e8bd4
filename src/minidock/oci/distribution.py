"""Documents of registries: manifests, and indexes of manifests for several platforms.

    index ──▶ manifest for linux/amd64 ──▶ config, layers          all by digest and size
          └─▶ manifest for linux/arm64 ──▶ …

Docker's schema 2 and OCI's documents differ only in their media types; both are supported. Schema 1
of 2014 is refused: its digests can be forged.

Source: OCI image-spec manifest.md, image-index.md; distribution.github.io "Image Manifest
Version 2, Schema 2"; containerd's platforms package for how variants are matched.
"""

from __future__ import annotations

from minidock import jsontext
from minidock.errors import RegistryError, UsageError
from minidock.numerals import is_decimal
from minidock.oci import manifest
from minidock.oci.digest import is_digest
from minidock.oci.image_config import host_architecture

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.document_types.image import Descriptor

DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_MANIFEST = manifest.DOCKER_MANIFEST
ACCEPTED = (manifest.MANIFEST, manifest.INDEX, DOCKER_MANIFEST, manifest.DOCKER_LIST)
_INDEXES = (manifest.INDEX, manifest.DOCKER_LIST)
_CONFIGS = (manifest.CONFIG, DOCKER_CONFIG)
_ARCHITECTURES = frozenset(
    "386 amd64 arm arm64 loong64 mips mips64 mips64le mipsle ppc64 ppc64le riscv64 s390x".split()
)
_ALIASES = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "armhf": "arm", "i386": "386"}
_DEFAULT_VARIANTS = {"arm64": "v8", "arm": "v7"}


class Platform:
    """A system, an architecture and its variant, such as linux/arm/v7."""

    def __init__(self, architecture: str, variant: str = "") -> None:
        self.architecture = architecture
        self.variant = variant or _DEFAULT_VARIANTS.get(architecture, "")

    def __str__(self) -> str:
        plain = self.variant == _DEFAULT_VARIANTS.get(self.architecture, "")
        return f"linux/{self.architecture}" + ("" if plain else f"/{self.variant}")

    def fit(self, given: object) -> int:
        """Rate how well a platform of an index fits: 0 not at all, the larger the better."""
        if not isinstance(given, dict) or given.get("os") != "linux":
            return 0
        if given.get("architecture") != self.architecture:
            return 0
        variant = given.get("variant") or _DEFAULT_VARIANTS.get(self.architecture, "")
        if variant == self.variant:
            return 100
        if self.architecture == "arm" and isinstance(variant, str) and variant < self.variant:
            return 1 + int(variant[1:]) if is_decimal(variant[1:]) else 1
        return 1 if self.architecture == "amd64" and not variant else 0


def this_machine() -> Platform:
    """Return the platform of this machine."""
    return Platform(host_architecture())


def parse_platform(text: str) -> Platform:
    """Parse a platform such as linux/arm64, arm64, linux/arm/v6; "" is this machine's.

    Raises UsageError for another system than linux, or an invalid platform.
    """
    if not text:
        return this_machine()
    parts = text.lower().split("/")
    if parts[0] == "linux":
        parts = parts[1:] or [host_architecture()]
    architecture = _ALIASES.get(parts[0], parts[0])
    if architecture not in _ARCHITECTURES or len(parts) > 2:
        raise UsageError(
            f'"{text}" is not a platform that minidock has images for',
            hint="a platform is linux/amd64, linux/arm64 or linux/arm/v7",
        )
    return Platform(architecture, parts[1] if parts[1:] else "")


class ImageManifest:
    """A manifest: the descriptors of its config and of its layers, lowest first."""

    def __init__(self, config: Descriptor, layers: list[Descriptor]) -> None:
        self.config = config
        self.layers = layers


def parse(content: bytes, media_type: str, what: str) -> ImageManifest | list[Descriptor]:
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


def choose(entries: list[Descriptor], platform: Platform, what: str) -> Descriptor:
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
