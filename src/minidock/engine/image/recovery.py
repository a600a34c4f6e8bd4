"""Recover from an interrupted change of images: unreferenced layers, incomplete images.

images.json, the records of the build cache and the layer directories cannot change atomically. A
command that changes more than one of them does so in `with lock.transaction()` (store/store.py). If
it is killed there, the next holder of the images' lock recovers: it undoes an addition and
completes a removal.
"""

from __future__ import annotations

import os
import time

from minidock import document
from minidock.document import writer_of
from minidock.engine.image import images_json
from minidock.engine.image.build_cache import cached_layers
from minidock.engine.store.tree_removal import remove_tree
from minidock.oci.digest import PREFIX
from minidock.paths import is_sha256

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.document_types.image import ImageCatalogue, ImageRecord
    from minidock.paths import Store


def move_out(store: Store, catalogue: ImageCatalogue, directory: str) -> list[str]:
    """Move layers that neither an image nor the build cache references into a staging directory.

    The caller holds the store's lock. Returns their names there: chain IDs without "sha256:".
    """
    images = catalogue["images"].values()
    named = {chain_id for image in images for chain_id in image["layers"]} | cached_layers(store)
    bare = {chain_id.removeprefix(PREFIX) for chain_id in named}
    present = filter(is_sha256, os.listdir(store.layers))
    orphans = [name for name in present if name not in bare]
    for name in orphans:
        os.rename(f"{store.layers}/{name}", f"{directory}/{name}")
    return orphans


def settle(store: Store) -> None:
    """Remove incomplete images and unreferenced layers. The caller holds the store's lock.

    Writes images.json last: if the disk is full, the removals free space for it.
    """
    catalogue = images_json.read(store)
    broken = [i for i, record in catalogue["images"].items() if not _is_whole(store, i, record)]
    for image_id in broken:
        del catalogue["images"][image_id]
    names = [n for n, owner in catalogue["references"].items() if owner in broken]
    for name in names:
        del catalogue["references"][name]

    directory = f"{store.staging}/orphans-{time.time_ns()}"
    os.makedirs(directory, mode=0o700)
    move_out(store, catalogue, directory)
    with document.reporting_skipped():
        remove_tree(store, directory)
    for name in filter(is_sha256, os.listdir(store.blobs)):
        if PREFIX + name not in catalogue["images"]:
            os.unlink(f"{store.blobs}/{name}")
    for name in os.listdir(store.root):
        if name.startswith("images.json.") and writer_of(name):  # a temporary file, not renamed
            os.unlink(f"{store.root}/{name}")
    if broken:
        images_json.write(store, catalogue)


def _is_whole(store: Store, image_id: str, record: ImageRecord) -> bool:
    """Whether an image's config and all of its layers exist."""
    parts = [store.blob(image_id), *(store.layer(chain_id) for chain_id in record["layers"])]
    return all(os.path.exists(part) for part in parts)
