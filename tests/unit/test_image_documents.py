"""Digests, configs and manifests as plain data."""

from __future__ import annotations

import json

import pytest

from minidock.errors import ArchiveError
from minidock.oci import archive_manifest, digest, image_config
from support import archives

LAYER = archives.layer(archives.file("f", b"x"))


def test_chain_ids_are_the_specs() -> None:
    a, b = "sha256:" + "a" * 64, "sha256:" + "b" * 64
    assert digest.chain_ids([a, b]) == [a, digest.sha256(f"{a} {b}".encode())]
    assert digest.chain_ids([]) == []


@pytest.mark.parametrize("value", ["", "sha256:", "sha256:" + "A" * 64, "sha256:" + "a" * 63,
                                   "sha512:" + "a" * 64, 1, None, "a" * 71])  # fmt: skip
def test_what_is_no_digest(value: object) -> None:
    assert not digest.is_digest(value)


def test_a_config_with_little_in_it_is_enough() -> None:
    config = image_config.parse(b'{"rootfs":{"type":"layers","diff_ids":null}}')
    assert image_config.diff_ids(config) == []
    assert image_config.normalised(config.get("config"))["Env"] is None


def test_normalised_config_leaves_out_what_docker_leaves_out() -> None:
    shown = image_config.normalised({"Cmd": ["x"], "Labels": {}, "Shell": None, "Foreign": 1})
    assert list(shown)[:3] == ["Hostname", "Domainname", "User"]
    assert shown["Labels"] == {}
    assert not {"Shell", "Foreign", "ExposedPorts", "StopSignal"} & set(shown)


def test_names_of_an_oci_layout_are_containerds_or_its_own() -> None:
    for annotation, name, familiar in (
        ("io.containerd.image.name", "docker.io/library/web:2", "web:2"),
        ("org.opencontainers.image.ref.name", "web", "web:latest"),
        ("org.opencontainers.image.ref.name", "quay.io/a/b:1", "quay.io/a/b:1"),
    ):
        members = archives.oci_members([LAYER], name=name, annotation=annotation)
        (image,) = archive_manifest.from_oci(members.__getitem__)
        assert image.names == [familiar]
        assert image.layers == [(archives.blob_name(LAYER), archives.digest(LAYER))]


def test_an_index_within_an_index_is_followed_but_not_for_ever() -> None:
    members = archives.oci_members([LAYER])
    for depth in range(20):
        index = members.pop("index.json")
        members[archives.blob_name(index)] = index
        entry = archives.descriptor(index, "application/vnd.oci.image.index.v1+json")
        members["index.json"] = json.dumps({"manifests": [entry]}).encode()
        if depth < 7:
            assert len(archive_manifest.from_oci(members.__getitem__)) == 1
    with pytest.raises(ArchiveError, match="nested too deeply"):
        archive_manifest.from_oci(members.__getitem__)
