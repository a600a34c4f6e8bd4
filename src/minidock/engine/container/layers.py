"""Which directories a container's root file system is made of."""

from __future__ import annotations

import os

from minidock.engine.container.containers import Container
from minidock.engine.image.images import ImageStore


def layers_of(container: Container) -> tuple[list[str], str, str]:
    """Its image's layers, lowest first, its own upperdir, and the workdir beside that.

    A build's RUN step stands on layers that are no image yet, and writes into the build's staging.
    Raises NotFound where the image was removed.
    """
    if build := container.document.get("Build"):
        return list(build["Lowers"]), build["Upper"], build["Work"]
    image = ImageStore(container.store).resolve(container.document["Image"])
    paths = container.paths  # links, where the layer is in a file of its own (space.py)
    return image.layer_directories(), os.path.realpath(paths.upper), os.path.realpath(paths.work)
