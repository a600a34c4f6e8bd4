"""images.json: the images of the store, their names and layers.

    {"images": {image ID: record}, "references": {"busybox:latest": image ID}}

A record contains all that `images` and `run` need, so that they open no other file: layers (chain
IDs, lowest first), size, created, parent (the image that it was committed on), tagged.
A record with "removed" belongs to an image that `rmi -f` removed while a container used it: it has
no name and is not listed, and its layers stay until the container is removed.

Source: moby daemon/images/image.go for how names resolve.
"""

from __future__ import annotations

import os

from minidock import document, jsontext
from minidock.document import Each
from minidock.engine.store.store import is_initialized
from minidock.errors import DamagedFile, UsageError
from minidock.oci import reference
from minidock.oci.digest import PREFIX, is_digest, is_hex

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from minidock.document import Shape
    from minidock.document_types.image import ImageCatalogue
    from minidock.paths import Store

_RECORD: Shape = {
    "layers": [is_digest], "size": int, "created": str, "parent": str, "tagged": str,
    "removed?": bool,
}  # fmt: skip
_SHAPE: Shape = {"images": Each(_RECORD), "references": Each(str)}


def read(store: Store) -> ImageCatalogue:
    """Read images.json.

    Raises DamagedFile, also if it is missing although image configs exist; StoreError for a
    directory that is not a minidock store.
    """
    if not is_initialized(store):
        return {"images": {}, "references": {}}
    try:
        catalogue: ImageCatalogue = document.read(store.images, _SHAPE)
    except FileNotFoundError:
        if count := len(_configs(store)):
            text = f"it is missing, but the store has {count} images"
            raise DamagedFile(store.images, text) from None
        return {"images": {}, "references": {}}
    images = catalogue["images"]
    if not all(map(is_digest, images)):
        raise DamagedFile(store.images, "an image's id is not a digest")
    for name, image_id in catalogue["references"].items():
        if image_id not in images:
            raise DamagedFile(store.images, f"{name} refers to an unknown image")
    return catalogue


def _configs(store: Store) -> list[str]:
    """The names of all blobs (image configs) in the store."""
    try:
        return [name for name in os.listdir(store.blobs) if is_hex(name)]
    except FileNotFoundError:
        return []


def write(store: Store, catalogue: ImageCatalogue) -> None:
    """Write images.json; the caller holds the store's lock."""
    document.write(store.images, jsontext.dumps(catalogue), durable=True)


def find_id(catalogue: ImageCatalogue, ref: str) -> str:
    """The ID of the image that a reference means, or "".

    Tries, in Docker's order, a full ID, a name, and an ID prefix.
    """
    images = catalogue["images"]
    whole = ref if ref.startswith(PREFIX) else PREFIX + ref
    if is_digest(whole):
        return whole if whole in images else ""
    if not ref.startswith(PREFIX):
        name = reference.parse(ref).with_default_tag()
        found: str = catalogue["references"].get(_key(name), "")
        if found:
            return found
    start = ref.removeprefix(PREFIX)
    if not is_hex(start):
        return ""
    matches = [
        image_id
        for image_id, record in images.items()
        if image_id.startswith(PREFIX + start) and not record.get("removed")
    ]
    return matches[0] if len(matches) == 1 else ""


def sort_names(names: Iterable[str]) -> list[str]:
    """Sort familiar names as Docker does: by canonical name, with docker.io/library/."""
    listed = list(names)
    return sorted(listed, key=lambda n: str(reference.parse(n))) if len(listed) > 1 else listed


def names_by_image(catalogue: ImageCatalogue) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    for name, image_id in catalogue["references"].items():
        names.setdefault(image_id, []).append(name)
    return names


def display_reference(ref: str) -> str:
    """A reference as in Docker's error messages: familiar, with its tag."""
    if ref.startswith(PREFIX):
        return ref
    try:
        return reference.parse(ref).with_default_tag().familiar
    except UsageError:
        return ref


def _key(name: reference.Reference) -> str:
    """The key of a name in "references"; a digest takes precedence over a tag."""
    if name.digest:
        return f"{name.familiar_name}@{name.digest}"
    return name.familiar
