"""`history`: the build steps of an image, with the size of each step's layer.

An image's config lists its steps, each with or without a layer. The image of a step is known only
if this store made it (a commit on top of a commit); otherwise it is "<missing>", as in Docker.

Source: OCI image-spec config.md "history"; moby daemon/images/image_history.go.
"""

from __future__ import annotations

from minidock.engine.image.images import ImageStore
from minidock.engine.image.layers import read_layer
from minidock.errors import NotFound, StoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.engine.image.image import Image
    from minidock.paths import Store

MISSING = "<missing>"


class Step:
    """One step of an image's history.

    image_id: the image after it, or MISSING. created: RFC 3339, or "". size: bytes of its layer,
    0 for none.
    """

    def __init__(
        self, image_id: str, created: str, created_by: str, comment: str, size: int
    ) -> None:
        self.image_id = image_id
        self.created = created
        self.created_by = created_by
        self.comment = comment
        self.size = size


def history(store: Store, ref: str) -> list[Step]:
    """The steps of an image, the last one first.

    Raises NotFound; StoreError if the config has more steps with layers than layers.
    """
    image = ImageStore(store).resolve(ref)
    layers = iter(image.chain_ids)
    steps: list[Step] = []
    for entry in image.config.get("history") or []:
        size = 0
        if not entry.get("empty_layer"):
            chain_id = next(layers, "")
            if not chain_id:
                raise StoreError("too many non-empty layers in History section")
            size = read_layer(store, chain_id)["size"]
        steps.append(
            Step(
                MISSING,
                entry.get("created") or "",
                entry.get("created_by") or "",
                entry.get("comment") or "",
                size,
            )
        )
    steps.reverse()
    for step, image_id in zip(steps, _ancestor_ids(store, image), strict=False):
        step.image_id = image_id
    return steps


def _ancestor_ids(store: Store, image: Image) -> list[str]:
    """The IDs of an image, its parent, its parent's parent, …"""
    ids = [image.id]
    while image.parent:
        try:
            image = ImageStore(store).resolve(image.parent)
        except NotFound:
            break
        ids.append(image.id)
    return ids
