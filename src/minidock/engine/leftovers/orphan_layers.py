"""Find layers that no image, container or cached step uses, and configs of no image.

They are added and removed under the lock that is held here (engine/image/recovery.py). None counts
as an orphan while a build runs, which may use a layer that no document names any more, or while a
document that might name it is damaged.
"""

from __future__ import annotations

import os
from functools import partial

from minidock import document
from minidock.document import open_regular
from minidock.engine.image import images_json
from minidock.engine.image.build_cache import cached_layers
from minidock.engine.image.lock import ImagesLock
from minidock.engine.leftovers.leftover import Leftover
from minidock.engine.store.container_json import list_documents
from minidock.engine.store.locks import is_held
from minidock.engine.store.store import Staging, is_initialized
from minidock.errors import DamagedFile
from minidock.oci.digest import PREFIX
from minidock.paths import is_sha256

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from minidock.paths import Store


def find_orphans(store: Store) -> Iterator[Leftover]:
    """Find layers and image configs that no image, container or cached step uses."""
    layers, blobs = _find(store) if is_initialized(store) else ([], [])
    for name in layers:
        yield Leftover(
            "layer", store.layer(name), owner="", why="no image, cached step or container uses it",
            remove=partial(_remove, store, name),
        )  # fmt: skip
    for name in blobs:
        yield Leftover(
            "file", store.blob(name), owner="", why="config without an image",
            remove=partial(_remove, store, name),
        )  # fmt: skip


def _find(store: Store) -> tuple[list[str], list[str]]:
    """The names of layers and blobs that nothing uses; none if a document is damaged."""
    if _is_build_running(store):
        return [], []
    try:
        with ImagesLock(store, sweeps=False):
            return _unused(store)
    except DamagedFile as error:
        document.report_skipped(error)
        return [], []


def _unused(store: Store) -> tuple[list[str], list[str]]:
    """Names of unused layers and blobs; the caller holds the store's lock. Raises DamagedFile."""
    images = images_json.read(store)["images"]
    chain_ids = {chain_id for record in images.values() for chain_id in record["layers"]}
    chain_ids |= cached_layers(store)
    used = {name.removeprefix(PREFIX) for name in chain_ids}
    for each in list_documents(store, strictly=True):
        paths = [*each["GraphDriver"]["Data"]["LowerDir"].split(":"),
                 *each.get("Build", {}).get("Lowers", ())]  # fmt: skip
        used |= {os.path.basename(os.path.dirname(path)) for path in paths}
    layers = [name for name in os.listdir(store.layers) if is_sha256(name) and name not in used]
    blobs = [name for name in os.listdir(store.blobs) if is_sha256(name)]
    return layers, [name for name in blobs if PREFIX + name not in images]


def _is_build_running(store: Store) -> bool:
    """Whether a build holds its lock (engine/image/build_cache.py)."""
    try:
        fd = open_regular(store.build_lock)
    except FileNotFoundError:
        return False
    except DamagedFile as error:
        document.report_skipped(error)
        return True
    return is_held(fd)


def _remove(store: Store, name: str) -> None:
    """Remove a layer or blob if it is still unused under the store's lock."""
    with Staging(store, "orphan") as staging, ImagesLock(store):
        if _is_build_running(store):
            return
        layers, blobs = _unused(store)
        if name in layers:
            os.rename(store.layer(name), f"{staging.path}/{name}")
        elif name in blobs:
            os.unlink(store.blob(name))
