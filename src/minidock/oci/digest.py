"""Digests: content-based names.

A *digest* is "sha256:" and the hash of some bytes. Three of them name the parts of an image:

    image ID   the digest of the image's config, byte for byte
    diff_id    the digest of one layer's tar archive, uncompressed
    chain_id   the digest of a stack of layers: the name of a directory under layers/

The same layer on top of different layers makes different file systems, hence chain ids:

    chain_id(L0)        = diff_id(L0)
    chain_id(L0..Ln)    = sha256(chain_id(L0..Ln-1) + " " + diff_id(Ln))

Only sha256 is supported; the spec also registers sha512, which images do not use.

Source: OCI image-spec descriptor.md "Digests", config.md "Layer ChainID".
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import hashlib

PREFIX = "sha256:"
_HEX = frozenset("0123456789abcdef")


def sha256(content: bytes) -> str:
    """Return the digest of some bytes, as "sha256:<64 hex digits>"."""
    return PREFIX + small_hash(content).hexdigest()


def small_hash(content: bytes = b"") -> hashlib._Hash:
    """Return a SHA-256 for small input, implemented by Python itself.

    hashlib uses OpenSSL, which is six times as fast on large input, but takes 3 ms to load.
    """
    try:
        from _sha2 import sha256 as new  # type: ignore[import-not-found]
    except ImportError:  # before Python 3.12
        from _sha256 import sha256 as new  # type: ignore[import-not-found]
    made: hashlib._Hash = new(content)
    return made


def is_hex(text: str) -> bool:
    """Whether a text consists of lower-case hex digits (an id or a prefix of one)."""
    return bool(text) and _HEX.issuperset(text)


def is_digest(value: object) -> bool:
    """Whether a value is "sha256:" and 64 hex digits, and so safe as part of a path."""
    return (
        isinstance(value, str)
        and len(value) == len(PREFIX) + 64
        and value.startswith(PREFIX)
        and is_hex(value[len(PREFIX) :])
    )


def chain_ids(diff_ids: list[str]) -> list[str]:
    """Compute the chain id of each layer of a stack, lowest first."""
    chain: list[str] = []
    for diff_id in diff_ids:
        chain.append(sha256(f"{chain[-1]} {diff_id}".encode()) if chain else diff_id)
    return chain


def short(digest: str) -> str:
    """Return the first twelve hex digits, the short id of an image or container."""
    return digest.removeprefix(PREFIX)[:12]
