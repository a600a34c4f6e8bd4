"""Which directories a container's root file system is made of."""

from __future__ import annotations

import os

from minidock.engine.container.containers import Container
from minidock.engine.image.images import ImageStore


def create_dockerenv(container: Container, upper: str) -> None:
    """Put an empty /.dockerenv into a container's own layer: programs look for it, to know where
    they are. It is no change of the container's (image/upper.py, INIT_FILES)."""
    image = container.document["GraphDriver"]["Data"]["LowerDir"].split(":")
    if not any(os.path.lexists(f"{layer}/.dockerenv") for layer in image):
        os.close(os.open(f"{upper}/.dockerenv", os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o755))


def layers_of(container: Container) -> tuple[list[str], str, str]:
    """Its image's layers, lowest first, its own upperdir, and the workdir beside that.

    A build's RUN step stands on layers that are not an image yet, and writes into the build's
    staging. Raises NotFound where the image was removed, DamagedFile where a layer of it is
    missing.
    """
    if build := container.document.get("Build"):
        return list(build["Lowers"]), build["Upper"], build["Work"]
    image = ImageStore(container.store).resolve(container.document["Image"])
    paths = container.paths  # links, where the layer is in a file of its own (quota.py)
    return image.present_layers(), os.path.realpath(paths.upper), os.path.realpath(paths.work)
