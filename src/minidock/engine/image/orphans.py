"""Layers and configs that nothing names: a kill between two renames leaves them.

images.json, the records of the build cache and the directories of layers cannot change in one step.
Whoever changes more than one of them does it in `with Unsettled(store)` (engine/store.py); where
that block was cut short, the next command that takes the store's lock removes what is left over.
"""

from __future__ import annotations

import os

from minidock.engine.build.cache import kept_layers
from minidock.engine.image.images import ImageStore
from minidock.oci.digest import PREFIX
from minidock.paths import Store


def move_out(store: Store, directory: str) -> list[str]:
    """Move layers that neither an image nor the build cache names into a directory of staging/.

    The caller holds the store's lock. Returns the layers' names there, which are bare chain ids.
    """
    images = ImageStore(store).read()["images"].values()
    named = {chain_id for image in images for chain_id in image["layers"]} | kept_layers(store)
    bare = {chain_id.removeprefix(PREFIX) for chain_id in named}
    orphans = [name for name in os.listdir(store.layers) if name not in bare]
    for name in orphans:
        os.rename(f"{store.layers}/{name}", f"{directory}/{name}")
    return orphans


def settle(store: Store) -> None:
    """Put right what a kill left: to staging/ with such layers, and away with such configs.

    The caller holds the store's lock, and sweeps staging/ afterwards.
    """
    directory = f"{store.staging}/orphans"
    os.makedirs(directory, mode=0o700, exist_ok=True)
    move_out(store, directory)
    images = ImageStore(store).read()["images"]
    for name in os.listdir(store.blobs):
        if PREFIX + name not in images:
            os.unlink(store.blob(name))
    for name in os.listdir(store.root):
        if name.startswith("images.json."):  # what write_file had not renamed yet
            os.unlink(f"{store.root}/{name}")
