"""Layers and image archives made by Python's tarfile, which minidock itself does not use.

layer(file("etc/motd", b"hi"), directory("var"), link("a", "etc/motd"))    -> bytes of a tar
docker_archive([layer(...)], tags=["web:1"])                               -> as docker save did
oci_archive([gzip.compress(layer(...))], name="web:1")                     -> an OCI image layout
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from typing import Any

Entry = tuple[tarfile.TarInfo, bytes]


def digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def entry(name: str, kind: bytes = tarfile.REGTYPE, content: bytes = b"", **fields: Any) -> Entry:
    """Any entry; fields as TarInfo has them (mode, uid, gid, mtime, linkname, pax_headers, …)."""
    info = tarfile.TarInfo(name)
    info.type = kind
    info.size = len(content)
    info.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def file(name: str, content: bytes = b"", **fields: Any) -> Entry:
    return entry(name, tarfile.REGTYPE, content, **fields)


def directory(name: str, **fields: Any) -> Entry:
    return entry(name, tarfile.DIRTYPE, **fields)


def symlink(name: str, target: str, **fields: Any) -> Entry:
    return entry(name, tarfile.SYMTYPE, linkname=target, **fields)


def hard_link(name: str, target: str, **fields: Any) -> Entry:
    return entry(name, tarfile.LNKTYPE, linkname=target, **fields)


def layer(*entries: Entry, format: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar archive of some entries."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=format) as tar:
        for info, content in entries:
            tar.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def archive(members: Mapping[str, bytes] | Iterable[Entry]) -> bytes:
    """An archive of named members, or of entries as they are."""
    if isinstance(members, Mapping):
        members = [file(name, content) for name, content in members.items()]
    return layer(*members)


def config(layers: Iterable[bytes], **fields: Any) -> bytes:
    """An image's config on some uncompressed layers."""
    document = {
        "architecture": "amd64",
        "os": "linux",
        "created": "2024-05-01T12:00:00Z",
        "config": {"Cmd": ["sh"]},
        "rootfs": {"type": "layers", "diff_ids": [digest(content) for content in layers]},
        **fields,
    }
    return json.dumps(document).encode()


def docker_archive(
    layers: list[bytes], *, tags: list[str] | None = None, config_bytes: bytes | None = None
) -> bytes:
    """What docker save wrote before version 25."""
    return archive(docker_members(layers, tags=tags, config_bytes=config_bytes))


def docker_members(
    layers: list[bytes], *, tags: list[str] | None = None, config_bytes: bytes | None = None
) -> dict[str, bytes]:
    """The members of such an archive, to be changed by a test."""
    image = config(layers) if config_bytes is None else config_bytes
    names = [f"{index:064x}/layer.tar" for index in range(len(layers))]
    config_name = digest(image).removeprefix("sha256:") + ".json"
    table = [{"Config": config_name, "RepoTags": tags, "Layers": names}]
    return {
        config_name: image,
        **dict(zip(names, layers, strict=True)),
        "manifest.json": json.dumps(table).encode(),
    }


def oci_members(
    layers: list[bytes],
    *,
    compressed: list[bytes] | None = None,
    name: str = "",
    annotation: str = "org.opencontainers.image.ref.name",
) -> dict[str, bytes]:
    """The members of an OCI image layout. compressed: the blobs, where they are not the layers."""
    image = config(layers)
    blobs = compressed or layers
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "config": descriptor(image, "application/vnd.oci.image.config.v1+json"),
            "layers": [
                descriptor(blob, "application/vnd.oci.image.layer.v1.tar") for blob in blobs
            ],
        }
    ).encode()
    entry = descriptor(manifest, "application/vnd.oci.image.manifest.v1+json")
    if name:
        entry["annotations"] = {annotation: name}
    return {
        "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
        "index.json": json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode(),
        **{blob_name(content): content for content in (image, manifest, *blobs)},
    }


def oci_archive(layers: list[bytes], **options: Any) -> bytes:
    return archive(oci_members(layers, **options))


def descriptor(content: bytes, media_type: str) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest(content), "size": len(content)}


def blob_name(content: bytes) -> str:
    return "blobs/sha256/" + digest(content).removeprefix("sha256:")


def gzipped(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)
