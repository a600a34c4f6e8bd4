"""The TypedDicts say what the shapes validate, and name the fields that Docker's types have."""

from __future__ import annotations

import types
import typing
from typing import Any, is_typeddict

import pytest

from minidock.cli.output import go_types
from minidock.document import Each
from minidock.document_types import container, host_config, image, network, runtime_spec, store
from minidock.engine.container import inspect_defaults, repair, volumes
from minidock.engine.image import build_cache, images_json, layers
from minidock.engine.network import network_json
from minidock.engine.registry import origins
from minidock.engine.store import container_json, event_log
from minidock.runtime import state


def differences(shape: Any, kind: Any, where: str = "") -> list[str]:
    """Fields of a shape that a type lacks, or takes for more certain than the shape does."""
    if isinstance(shape, tuple):
        return [text for one in shape for text in differences(one, kind, where)]
    if isinstance(shape, list):
        return differences(shape[0], _inner(kind, list)[0], f"{where}[]")
    if isinstance(shape, Each):
        if any(is_typeddict(arm) for arm in _arms(kind)):  # all of its values are of one shape
            return []
        return differences(shape.shape, _inner(kind, dict)[1], f"{where}.*")
    if not isinstance(shape, dict):
        return []
    (kind,) = (arm for arm in _arms(kind) if is_typeddict(arm))
    found = []
    hints = typing.get_type_hints(kind)
    for key, inner in shape.items():
        name = key.removesuffix("?")
        if name not in hints:
            found.append(f"{where}.{name} is not in {kind.__name__}")
            continue
        if key != name and name in kind.__required_keys__:
            found.append(f"{where}.{name} may be missing, and is required in {kind.__name__}")
        found += differences(inner, hints[name], f"{where}.{name}")
    return found


def _arms(kind: Any) -> tuple[Any, ...]:
    """The types of a union; for another type, only that type."""
    is_union = typing.get_origin(kind) in (typing.Union, types.UnionType)
    return typing.get_args(kind) if is_union else (kind,)


def _inner(kind: Any, generic: type) -> tuple[Any, ...]:
    (found,) = (arm for arm in _arms(kind) if typing.get_origin(arm) is generic)
    return typing.get_args(found)


SHAPES = {
    "container.json": (container_json._SHAPE, container.ContainerDocument),
    "networks/<name>.json": (network_json._SHAPE, network.NetworkDocument),
    "images.json": (images_json._SHAPE, image.ImageCatalogue),
    "layer.json": (layers._SHAPE, image.LayerRecord),
    "blobs.json": (origins._SHAPE[0], image.BlobRecord),
    "volume.json": (volumes._SHAPE, store.VolumeDocument),
    "a step of the build cache": (build_cache.SHAPE, store.CacheRecord),
    "an event": (event_log.SHAPE, store.Event),
    "the note of an end": (repair._END, store.EndNote),
    "state.json": (state._SHAPE, runtime_spec.StateDocument),
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_type_has_what_its_shape_validates(name: str) -> None:
    shape, kind = SHAPES[name]
    found = differences(shape, kind)
    if name == "container.json":  # Docker's form has fields that nothing here relies on
        found = [text for text in found if "may be missing" not in text]
    assert found == []


@pytest.mark.parametrize("name", sorted(set(SHAPES) - {"container.json", "state.json"}))
def test_a_type_promises_only_what_its_shape_validates(name: str) -> None:
    shape, kind = SHAPES[name]
    assert kind.__required_keys__ <= {key for key in shape if not key.endswith("?")}


def test_differences_are_found() -> None:
    shape = {"Name": str, "Id?": str, "Leases": Each({"Addres": str}), "Zone?": int}
    assert differences(shape, network.NetworkDocument) == [
        ".Id may be missing, and is required in NetworkDocument",
        ".Leases.*.Addres is not in Lease",
        ".Zone is not in NetworkDocument",
    ]


# Docker's struct, and what minidock's documents have besides.
STRUCTS = {
    "types.ContainerJSON": (container.ContainerDocument, {"Build"}),
    "types.ContainerState": (container.ContainerState, set()),
    "types.Health": (container.HealthState, set()),
    "types.HealthcheckResult": (container.HealthResult, set()),
    "types.MountPoint": (
        container.MountPoint,
        {"CreateSource", "NonRecursive", "ReadOnlyNonRecursive", "NoCopy", "Labels", "AskedDriver",
         "Subpath", "SubpathAt", "Size", "Permissions"},
    ),
    "types.NetworkSettings": (container.NetworkSettings, set()),
    "network.EndpointSettings": (network.Endpoint, set()),
    "container.Config": (container.ContainerConfig, set()),
    "v1.HealthcheckConfig": (container.Healthcheck, set()),
    "container.HostConfig": (host_config.HostConfig, set()),
    "mount.Mount": (host_config.MountRequest, set()),
    "mount.BindOptions": (host_config.BindOptions, set()),
    "mount.VolumeOptions": (host_config.VolumeOptions, set()),
    "mount.TmpfsOptions": (host_config.TmpfsOptions, set()),
    "types.ImageInspect": (image.ImageInspect, set()),
    "volume.Volume": (store.VolumeInspect, set()),
    "types.NetworkResource": (network.NetworkInspect, set()),
    "events.Message": (store.Event, set()),
}  # fmt: skip
# Fields that no document of minidock has: of Windows, of swarm, or Docker's own of old.
ABSENT = {
    "types.ContainerJSON.Node", "container.HostConfig.KernelMemory",
    "container.HostConfig.KernelMemoryTCP", "mount.Mount.ClusterOptions",
    "types.ImageInspect.Container", "types.ImageInspect.ContainerConfig",
    "types.ImageInspect.OsVersion", "types.ImageInspect.VirtualSize", "volume.Volume.ClusterVolume",
    "volume.Volume.Status", "types.NetworkResource.Peers", "types.NetworkResource.Services",
}  # fmt: skip


@pytest.mark.parametrize("struct", STRUCTS)
def test_a_type_has_the_fields_of_its_struct_in_docker(struct: str) -> None:
    kind, own = STRUCTS[struct]
    fields = {name for name in go_types._kinds_of(struct) if name != "+"}
    ours = set(kind.__required_keys__ | kind.__optional_keys__)
    assert ours - fields == own
    assert {f"{struct}.{name}" for name in fields - ours} <= ABSENT


def test_a_host_config_is_made_with_all_fields_but_those_that_docker_leaves_out_empty() -> None:
    made = set(inspect_defaults.host_config({}))
    known = set(typing.get_type_hints(host_config.HostConfig))
    assert known - made == {"Annotations", "Init", "Mounts", "StorageOpt", "Sysctls", "Tmpfs"}
    assert made <= known
