"""Layers that nothing stands on, and images' configs that images.json does not name.

They come into the store and go with the lock held that is held here (engine/image/settle.py), and
none counts while a build is at work, which may stand on a layer that no record names any more. Nor
does any as long as a document is damaged that might name it.
"""

from __future__ import annotations

import os
from functools import partial

from minidock import document
from minidock.document import open_regular
from minidock.engine.image import images_json
from minidock.engine.image.build_cache import cached_layers
from minidock.engine.image.lock import ImagesLock
from minidock.engine.leftovers.leftover import Thing
from minidock.engine.store.container_json import documents
from minidock.engine.store.locks import is_held
from minidock.engine.store.store import Staging, is_made
from minidock.errors import DamagedFile
from minidock.oci.digest import PREFIX
from minidock.paths import is_sha256

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from minidock.paths import Store


def orphans(store: Store) -> Iterator[Thing]:
    """Layers and configs of images that no image, container or cached step needs."""
    layers, blobs = _find(store) if is_made(store) else ([], [])
    for name in layers:
        yield Thing(
            "layer", store.layer(name), owner="", why="no image, step or container stands on it",
            remove=partial(_remove, store, name),
        )  # fmt: skip
    for name in blobs:
        yield Thing(
            "file", store.blob(name), owner="", why="the config of no image",
            remove=partial(_remove, store, name),
        )  # fmt: skip


def _find(store: Store) -> tuple[list[str], list[str]]:
    """The names of layers and of blobs that nothing needs; none where that is not certain."""
    if _a_build_is_at_work(store):
        return [], []
    try:
        with ImagesLock(store, sweeps=False):
            return _unnamed(store)
    except DamagedFile as error:
        document.report_skipped(error)
        return [], []


def _unnamed(store: Store) -> tuple[list[str], list[str]]:
    """The caller holds the store's lock. Raises DamagedFile."""
    images = images_json.read(store)["images"]
    named = {chain_id for record in images.values() for chain_id in record["layers"]}
    named |= cached_layers(store)
    used = {name.removeprefix(PREFIX) for name in named}
    for each in documents(store, strictly=True):
        paths = [*each["GraphDriver"]["Data"]["LowerDir"].split(":"),
                 *each.get("Build", {}).get("Lowers", ())]  # fmt: skip
        used |= {os.path.basename(os.path.dirname(path)) for path in paths}
    layers = [name for name in os.listdir(store.layers) if is_sha256(name) and name not in used]
    blobs = [name for name in os.listdir(store.blobs) if is_sha256(name)]
    return layers, [name for name in blobs if PREFIX + name not in images]


def _a_build_is_at_work(store: Store) -> bool:
    """Whether somebody holds the lock that a build holds (engine/image/build_cache.py)."""
    try:
        fd = open_regular(store.build_lock)
    except FileNotFoundError:
        return False
    except DamagedFile as error:
        document.report_skipped(error)
        return True
    return is_held(fd)


def _remove(store: Store, name: str) -> None:
    """Remove what is looked at once more, now that nobody else changes the store."""
    with Staging(store, "orphan") as staging, ImagesLock(store):
        if _a_build_is_at_work(store):
            return
        layers, blobs = _unnamed(store)
        if name in layers:
            os.rename(store.layer(name), f"{staging.path}/{name}")
        elif name in blobs:
            os.unlink(store.blob(name))
