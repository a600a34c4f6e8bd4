"""The images of a store: find by name, digest or ID; list, tag and add.

Every `run` reads images: one small file (images_json.py), without a lock and heavy imports.
removal.py removes images; archive.py, commit.py and registry/pull.py add them.

Source: Docker Engine API v1.45 "ImageInspect".
"""

from __future__ import annotations

import os

from minidock import document, jsontext
from minidock.engine.image import images_json
from minidock.engine.image.events import emit_image
from minidock.engine.image.image import Image, NewImage
from minidock.engine.image.images_json import display_reference, find_id, names_by_image
from minidock.engine.image.lock import ImagesLock
from minidock.engine.store.store import prepare
from minidock.engine.store.timestamps import NEVER, seconds_of, timestamp
from minidock.errors import ImageNotFound, StoreError, UsageError
from minidock.kernel.disk import sync_file_system
from minidock.oci import image_config, reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from builtins import list as List  # the method `list` shadows it
    from collections.abc import Callable, Iterable

    from minidock.document_types.image import ImageCatalogue
    from minidock.engine.image.layers import StagedLayer
    from minidock.paths import Store

    # The containers that use an image: (id or name, whether it runs).
    Users = Callable[[str], list[tuple[str, bool]]]


class ImageStore:
    """The images of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def resolve(self, ref: str) -> Image:
        """Find an image by name, digest, ID or unambiguous ID prefix.

        A full ID also finds a removed image that a container still uses, for its restart.
        Raises ImageNotFound.
        """
        catalogue = images_json.read(self._store)
        image_id = find_id(catalogue, ref)
        if not image_id:
            raise ImageNotFound(
                f"No such image: {display_reference(ref)}",
                hint="list images with 'minidock images'; add one with 'minidock pull' or 'load'",
            )
        return self._image(catalogue, image_id)

    def list(self) -> List[Image]:
        """All images, the newest first."""
        catalogue = images_json.read(self._store)
        names = names_by_image(catalogue)
        images = [
            Image(self._store, image_id, record, names.get(image_id, []))
            for image_id, record in catalogue["images"].items()
            if not record.get("removed")
        ]
        return sorted(images, key=lambda image: seconds_of(image.created), reverse=True)

    def tag(self, source: str, target: str) -> None:
        """Add a name to an image; the name moves if another image has it.

        Raises ImageNotFound for the source, UsageError for an invalid target.
        """
        try:
            reference.parse(target)
        except UsageError as error:
            raise UsageError(f'"{target}" is not a valid repository/tag: {error}') from None
        name = reference.parse_tagged(target).familiar
        with ImagesLock(self._store):
            catalogue = images_json.read(self._store)
            image_id = find_id(catalogue, source)
            if not image_id or catalogue["images"][image_id].get("removed"):
                raise ImageNotFound(f"No such image: {display_reference(source)}")
            catalogue["references"][name] = image_id
            catalogue["images"][image_id]["tagged"] = _now()
            images_json.write(self._store, catalogue)
            image = self._image(catalogue, image_id)
        emit_image(self._store, image, "tag", name=name)

    def add(
        self, config_bytes: bytes, layers: List[str], references: Iterable[str], *, parent: str = ""
    ) -> Image:
        """Add an image whose layers are in the store.

        layers: chain IDs, lowest first. Returns the image.
        """
        image_config.parse(config_bytes)
        image = NewImage(config_bytes, layers, references)
        image.parent = parent
        missing, _ = self.add_all([image], {})
        if missing:
            raise StoreError(f"the layer {missing[0]} is not in the store")
        return self.resolve(image.id)

    def add_all(
        self, images: List[NewImage], staged: dict[str, StagedLayer]
    ) -> tuple[List[str], dict[str, str]]:
        """Add images to the store, all in one step.

        staged: chain ID -> a layer in staging/, for layers that the store may lack.
        Returns the chain IDs of missing layers (another command has removed them meanwhile; then
        nothing was added), and for each name that moved, the ID of its former image.
        """
        prepare(self._store)
        if staged:
            sync_file_system(self._store.staging)  # before images.json references them
        with ImagesLock(self._store) as lock:
            wanted = {chain_id: None for image in images for chain_id in image.chain_ids}
            absent = [c for c in wanted if not os.path.isdir(self._store.layer(c))]
            missing = [chain_id for chain_id in absent if chain_id not in staged]
            if missing:
                return missing, {}
            catalogue = images_json.read(self._store)
            if not os.path.exists(self._store.images):
                images_json.write(
                    self._store, catalogue
                )  # before the first config: a missing images.json then means data loss
            moved: dict[str, str] = {}
            with lock.transaction():
                for chain_id in absent:
                    os.rename(staged[chain_id].path, self._store.layer(chain_id))
                if absent:
                    document.sync(self._store.layers)
                for image in images:
                    moved.update(self._write_image(catalogue, image))
                images_json.write(self._store, catalogue)
        return [], moved

    def _image(self, catalogue: ImageCatalogue, image_id: str) -> Image:
        names = [name for name, owner in catalogue["references"].items() if owner == image_id]
        return Image(self._store, image_id, catalogue["images"][image_id], names)

    def _write_image(self, catalogue: ImageCatalogue, image: NewImage) -> dict[str, str]:
        """Write an image's config and record; returns the names that moved."""
        from minidock.engine.image.layers import read_layer

        config = jsontext.loads(image.config_bytes)
        if not os.path.exists(self._store.blob(image.id)):
            document.write(self._store.blob(image.id), image.config_bytes, durable=True)
        known = catalogue["images"].get(image.id)
        catalogue["images"][image.id] = {
            "layers": image.chain_ids,
            "size": sum(read_layer(self._store, c)["size"] for c in image.chain_ids),
            "created": config.get("created") or NEVER,
            "parent": image.parent or (known["parent"] if known else ""),
            "tagged": _now() if image.names else (known["tagged"] if known else ""),
        }
        references = catalogue["references"]
        before = {name: references.get(name, image.id) for name in image.names}
        references.update(dict.fromkeys(image.names, image.id))
        return {name: owner for name, owner in before.items() if owner != image.id}


def _now() -> str:
    return timestamp()
