"""A container's layers now: what made each, what it has changed, and which answers for a path.

The reports of `minidock layers`, for the page. A container's own layer is read while the container
may write to it; its changes are listed up to CHANGES_MOST.
"""

from __future__ import annotations

import os
from itertools import islice

from minidock.engine.container.own_layer import has_quota
from minidock.engine.image.layers import size_of_layer
from minidock.errors import Conflict, UsageError
from minidock.oci.digest import PREFIX
from minidock.teach.layers.changes import changes_of
from minidock.teach.layers.find import of_container
from minidock.teach.layers.path_history import history_of
from minidock.teach.layers.stack import Stack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minidock.engine.container.containers import Container
    from minidock.teach.layers.layer import Layer

CHANGES_MOST = 200
_PATH_MAX = 4096


def layers_of(container: Container) -> dict[str, Any]:
    """The layers, topmost first, and the changes of the container's own: [kind, path] each.

    A layer's name is that of its thing in the picture; bytes: None for the own layer, which may
    have any number of files. more: whether there are further changes.
    Raises Conflict if the container writes faster than its layer can be read.
    """
    layers = _readable(container)
    with Stack(layers) as stack:
        found = list(islice(changes_of(stack, stack.layers[0]), CHANGES_MOST + 1))
    return {
        "layers": [_plain(container, layer) for layer in layers],
        "changes": [[each.kind, f"/{os.fsdecode(each.path)}"] for each in found[:CHANGES_MOST]],
        "more": len(found) > CHANGES_MOST,
    }


def path_in(container: Container, path: str) -> dict[str, object]:
    """Which layer answers for a path, and why. Raises NotFound if no layer has it, UsageError."""
    if "\0" in path or len(path) > _PATH_MAX:
        raise UsageError("this is not a path")
    return history_of(container.name, _readable(container), path).plain()


def _readable(container: Container) -> list[Layer]:
    """The layers, if they can be read without a mount in this process's namespace."""
    if has_quota(container):
        raise Conflict(
            f"the layer of {container.name} is in a file (--storage-opt size)",
            hint=f"minidock layers {container.name}",
        )
    return of_container(container)


def _plain(container: Container, layer: Layer) -> dict[str, object]:
    if layer.is_live:
        return {"number": layer.number, "name": "upper", "made_by": "", "bytes": None}
    chain_id = os.path.basename(os.path.dirname(layer.path))
    size = size_of_layer(container.store, PREFIX + chain_id)
    return {"number": layer.number, "name": chain_id[:12], "made_by": layer.title, "bytes": size}
