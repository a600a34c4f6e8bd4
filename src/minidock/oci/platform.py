"""Platforms: the system and architecture that an image is made for, as in linux/arm64.

    asked for          of an index's manifests it takes
    linux/arm/v7       arm/v7; else the next lower variant: arm/v6, arm/v5
    linux/arm64        arm64/v8, or arm64 without a variant, which is the same
    linux/amd64/v3     amd64/v3; else amd64 without a variant

Source: OCI image-index.md "platform"; containerd's platforms package for how variants are matched.
"""

from __future__ import annotations

from minidock.errors import UsageError
from minidock.numerals import is_decimal
from minidock.oci.image_config import host_architecture

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
