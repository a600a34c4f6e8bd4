"""images.json: which images there are, by which names, on which layers.

    {"images": {image id: record}, "references": {"busybox:latest": image id}}

A record holds what lists and starts need, so that neither opens another file: layers (chain ids,
lowest first), size, created, parent (the image that it was committed or built on), tagged.
A record with "removed" set belongs to an image that `rmi -f` took away from under a container: it
has no name and is not listed, and its layers stay until that container is gone.

Source: moby daemon/images/image.go for how names resolve.
"""

from __future__ import annotations

import os

from minidock import document, jsontext
from minidock.document import Each
from minidock.engine.store.store import is_made
from minidock.errors import DamagedFile, UsageError
from minidock.oci import reference
from minidock.oci.digest import PREFIX, is_digest, is_hex

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from minidock.paths import Store

_RECORD = {
    "layers": [is_digest], "size": int, "created": str, "parent": str, "tagged": str,
    "removed?": bool,
}  # fmt: skip
_SHAPE = {"images": Each(_RECORD), "references": Each(str)}


def read(store: Store) -> dict[str, dict[str, Any]]:
    """images.json as it is on disk.

    Raises DamagedFile, also where it is missing and there are images' configs; StoreError for
    a store that is not ours.
    """
    if not is_made(store):
        return {"images": {}, "references": {}}
    try:
        catalogue: dict[str, dict[str, Any]] = document.read(store.images, _SHAPE)
    except FileNotFoundError:
        if count := len(_configs(store)):
            text = f"it is missing, and the store has {count} images"
            raise DamagedFile(store.images, text) from None
        return {"images": {}, "references": {}}
    images = catalogue["images"]
    if not all(map(is_digest, images)):
        raise DamagedFile(store.images, "an image's id is not a digest")
    for name, image_id in catalogue["references"].items():
        if image_id not in images:
            raise DamagedFile(store.images, f"{name} is a name of no image")
    return catalogue


def _configs(store: Store) -> list[str]:
    """The digests of all blobs that are there."""
    try:
        return [name for name in os.listdir(store.blobs) if is_hex(name)]
    except FileNotFoundError:
        return []


def write(store: Store, catalogue: dict[str, dict[str, Any]]) -> None:
    """Write images.json; the caller holds the store's lock."""
    document.write(store.images, jsontext.dumps(catalogue), durable=True)


def find_id(catalogue: dict[str, dict[str, Any]], ref: str) -> str:
    """The id of the image that a reference means, or "".

    The order is Docker's: a whole id, a name, and only then the beginning of an id.
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
    """Familiar names in Docker's order: that of whole ones, with docker.io/library/."""
    listed = list(names)
    return sorted(listed, key=lambda n: str(reference.parse(n))) if len(listed) > 1 else listed


def names_by_image(catalogue: dict[str, dict[str, Any]]) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    for name, image_id in catalogue["references"].items():
        names.setdefault(image_id, []).append(name)
    return names


def display_reference(ref: str) -> str:
    """A reference as Docker's errors show it: familiar, with its tag."""
    if ref.startswith(PREFIX):
        return ref
    try:
        return reference.parse(ref).with_default_tag().familiar
    except UsageError:
        return ref


def _key(name: reference.Reference) -> str:
    """The key of images.json for a name; where a digest is given, the tag counts for nothing."""
    if name.digest:
        return f"{name.familiar_name}@{name.digest}"
    return name.familiar
