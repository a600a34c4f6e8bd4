"""`commit`: make an image whose top layer is a container's upperdir.

The upperdir is copied into the store. The layer's tar archive is hashed but not written
(layers.layer_of_upper); `save` can rebuild it.

Sources: moby daemon/commit.go and image/image.go (NewChildImage).
"""

from __future__ import annotations

import os

from minidock.document import without_empty
from minidock.engine.image.diff import changes as changes
from minidock.engine.image.events import emit_image
from minidock.engine.image.image import Image, NewImage
from minidock.engine.image.images import ImageStore
from minidock.engine.image.layers import layer_of_upper
from minidock.engine.image.upper import Upper
from minidock.engine.store.store import Staging
from minidock.engine.store.timestamps import timestamp
from minidock.errors import Conflict
from minidock.oci import image_config, reference
from minidock.oci.digest import chain_ids

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from minidock.document_types.container import ContainerConfig, ContainerDocument
    from minidock.document_types.image import HistoryEntry, ImageConfig
    from minidock.engine.image.archive_file import Progress
    from minidock.paths import Store

_EMPTY_LAYER = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"


def commit(
    store: Store,
    document: ContainerDocument,
    ref: str = "",
    *,
    author: str = "",
    message: str = "",
    changes: Iterable[str] = (),
    progress: Progress | None = None,
) -> Image:
    """Make an image from a container's image, its file changes and its configuration.

    document: the container's, as in `docker inspect`; the caller has paused a running container.
    ref: the image's name, "" for none. changes: Dockerfile instructions for its config.
    Raises UsageError for an invalid name or change, Conflict if a file changed meanwhile.
    """
    from minidock.jsontext import dumps

    _check_owns_its_files(document)
    names = [reference.parse_tagged(ref).familiar] if ref else []
    run_config = _merged(document["Config"], changes)
    parent = ImageStore(store).resolve(document["Image"])
    upper = os.path.realpath(store.container(document["Id"]).upper)  # a link with a disk quota
    lowers = parent.layer_directories()
    with Staging(store, "commit") as staging, Upper(upper, lowers) as own:
        layer = layer_of_upper(own, f"{staging.path}/0", take=False, progress=progress)
        is_empty = layer.diff_id == _EMPTY_LAYER
        layers = image_config.diff_ids(parent.config) + ([] if is_empty else [layer.diff_id])
        entry: HistoryEntry = {
            "created": timestamp(),
            "created_by": " ".join(document["Config"].get("Cmd") or []),
            "author": author,
            "comment": message,
            "empty_layer": is_empty,
        }
        config = _config(parent.config, layers, run_config, entry, container_id=document["Id"])
        image = NewImage(dumps(config).encode(), chain_ids(layers), names)
        image.parent = parent.id
        staged = {} if is_empty else {image.chain_ids[-1]: layer}
        missing, _ = ImageStore(store).add_all([image], staged)
    if missing:
        raise Conflict("the container's image was removed while it was being committed")
    made = ImageStore(store).resolve(image.id)
    for name in names:
        emit_image(store, made, "tag", name=name)
    return made


def _check_owns_its_files(document: ContainerDocument) -> None:
    if "Build" in document:
        raise Conflict(
            f"container {document['Id'][:12]} is a RUN step of a build, which owns its files",
            hint="wait for the build, and use its image",
        )


def _config(
    parent: ImageConfig,
    layers: list[str],
    run_config: ContainerConfig,
    step: HistoryEntry,
    *,
    container_id: str,
) -> ImageConfig:
    """The new image's config, from its parent's. step: the new history entry."""
    made: ImageConfig = {
        "architecture": parent.get("architecture") or image_config.host_architecture(),
        "author": step["author"],
        "config": run_config,
        "container": container_id,
        "created": step["created"],
        "history": [*(parent.get("history") or []), without_empty(step)],
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": layers},
        "variant": parent.get("variant") or "",
    }
    return without_empty(made)


def _merged(config: ContainerConfig, changes: Iterable[str]) -> ContainerConfig:
    """Apply the changes to the container's configuration; as in Docker, they cannot clear CMD."""
    base = image_config.normalised(config)
    lines = list(changes)
    if not lines:
        return base
    from minidock.engine.dockerfile.config_changes import apply_changes

    changed = apply_changes(base, lines)
    if not changed.get("Entrypoint"):
        changed["Cmd"] = changed.get("Cmd") or base.get("Cmd")
        changed["Entrypoint"] = changed.get("Entrypoint") or base.get("Entrypoint")
    return changed
