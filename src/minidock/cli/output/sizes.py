"""Sizes of containers' writable layers and file systems, and of shared image layers."""

from __future__ import annotations

from minidock.paths import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.engine.container.containers import Container
    from minidock.engine.image.image import Image


def container_sizes(store: Store, container: Container) -> tuple[int, int]:
    """Return the bytes of the container's writable layer, and of all its layers."""
    from minidock.document import report_skipped
    from minidock.engine.container.own_layer import mount_layer_privately
    from minidock.engine.image.images import ImageStore
    from minidock.errors import DamagedFile, NotFound

    mount_layer_privately(container)
    build = container.document.get("Build")  # a RUN step of one
    written = tree_bytes(build["Upper"] if build else container.paths.upper)
    if not container.document["Image"]:
        return written, written
    try:
        image = ImageStore(store).resolve(container.document["Image"]).size
    except NotFound:  # removed by force
        image = 0
    except DamagedFile as error:
        report_skipped(error)
        image = 0
    return written, written + image


def listed_images(store: Store) -> list[Image]:
    """List all images; report a damaged images.json and return an empty list."""
    from minidock.document import report_skipped
    from minidock.engine.image.images import ImageStore
    from minidock.errors import DamagedFile

    try:
        return ImageStore(store).list()
    except DamagedFile as error:
        report_skipped(error)
        return []


def images_and_layers(store: Store) -> tuple[list[Image], dict[str, int], dict[str, int]]:
    """Return all images, and by chain ID the number of images with a layer, and its bytes.

    A damaged images.json is reported; the list is empty then.
    A lock prevents the removal of images and layers meanwhile.
    """
    from collections import Counter

    from minidock.engine.image.layers import size_of_layer
    from minidock.engine.image.lock import ImagesLock

    with ImagesLock(store):
        images = listed_images(store)
        holders = Counter(chain_id for image in images for chain_id in image.chain_ids)
        return images, holders, {each: size_of_layer(store, each) for each in holders}


def tree_bytes(directory: str) -> int:
    """Sum the bytes of all files below a directory, each inode once.

    Files that a running container removes meanwhile count as zero.
    """
    from minidock.engine.store.tree_walk import size_below

    return size_below(directory)[1]
