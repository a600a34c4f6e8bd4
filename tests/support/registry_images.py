"""Images put into a registry byte by byte, so that a test knows every digest in them."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass

import zstandard

from support.patience import patience
from support.registry import Registry

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"


@dataclass
class Put:
    """An image that is in a registry: the digests of manifest, config (its ID) and layers."""

    manifest: str
    id: str
    layers: list[str]
    size: int


def layer(files: dict[str, bytes]) -> bytes:
    """A layer's tar with these files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o644
            tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


def digest_of(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def put_blob(registry: Registry, path: str, content: bytes) -> dict[str, object]:
    """Put a blob; returns its descriptor without a media type."""
    base = f"http://{registry.host}/v2/{path}/blobs/uploads/"
    begin = urllib.request.Request(base, b"", method="POST")
    with urllib.request.urlopen(begin, timeout=patience(20)) as answer:
        location = answer.headers["Location"]
    digest = digest_of(content)
    end = urllib.request.Request(
        f"{location}&digest={digest}",
        content,
        {"Content-Type": "application/octet-stream"},
        method="PUT",
    )
    urllib.request.urlopen(end, timeout=patience(20)).close()
    return {"digest": digest, "size": len(content)}


def put_image(
    registry: Registry,
    path: str,
    tag: str,
    layers: Sequence[bytes],
    *,
    architecture: str = "amd64",
    compression: str = "gzip",
    docker: bool = False,
    config: dict[str, object] | None = None,
) -> Put:
    """Put an image with these layers; docker: in Docker's media types, else OCI's.

    tag: "" puts it under its digest only.
    """
    pack = {
        "gzip": lambda tar: gzip.compress(tar, 1, mtime=0),
        "zstd": zstandard.ZstdCompressor().compress,
        "": bytes,
    }[compression]
    kind = DOCKER_LAYER if docker else OCI_LAYER + (f"+{compression}" if compression else "")
    descriptors = [{"mediaType": kind, **put_blob(registry, path, pack(tar))} for tar in layers]
    document = {
        "architecture": architecture,
        "os": "linux",
        "created": "2026-01-02T03:04:05Z",
        "config": {"Cmd": ["/bin/sh"], "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [digest_of(tar) for tar in layers]},
        **(config or {}),
    }
    stored = put_blob(registry, path, json.dumps(document).encode())
    manifest = {
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST if docker else OCI_MANIFEST,
        "config": {"mediaType": DOCKER_CONFIG if docker else OCI_CONFIG, **stored},
        "layers": descriptors,
    }
    content = json.dumps(manifest).encode()
    registry.put_manifest(path, tag or digest_of(content), content, str(manifest["mediaType"]))
    return Put(
        digest_of(content),
        str(stored["digest"]),
        [str(d["digest"]) for d in descriptors],
        len(content),
    )


def put_index(
    registry: Registry, path: str, tag: str, entries: dict[str, Put], *, docker: bool = False
) -> str:
    """Put an index: platform ("linux/arm/v7") -> an image that is there; returns its digest."""
    manifests = []
    for platform, image in entries.items():
        system, architecture, *variant = platform.split("/")
        described = {"os": system, "architecture": architecture}
        if variant:
            described["variant"] = variant[0]
        manifests.append(
            {
                "mediaType": DOCKER_MANIFEST if docker else OCI_MANIFEST,
                "digest": image.manifest,
                "size": image.size,
                "platform": described,
            }
        )
    kind = DOCKER_LIST if docker else OCI_INDEX
    index = {"schemaVersion": 2, "mediaType": kind, "manifests": manifests}
    return registry.put_manifest(path, tag, index, kind)
