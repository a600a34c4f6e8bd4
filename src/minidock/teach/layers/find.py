"""Find the layers of an image or a container."""

from __future__ import annotations

from minidock.engine.container.own_layer import has_quota, layers_of, mount_layer_privately
from minidock.teach.layers.layer import Layer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.engine.container.containers import Container
    from minidock.engine.image.image import Image


def of_image(image: Image) -> list[Layer]:
    """An image's layers, topmost first, each with the step that created it."""
    titles = steps(image)
    directories = image.layer_directories()
    layers = [
        Layer(number, path, title=titles[number - 1] if number <= len(titles) else "")
        for number, path in enumerate(directories, 1)
    ]
    return layers[::-1]


def of_container(container: Container) -> list[Layer]:
    """A container's upperdir, and below it the layers of its image, topmost first.

    It makes an upperdir in a disk file readable, even if the container does not run.
    Raises NotFound if the image was removed.
    """
    mount_layer_privately(container)
    if container.document.get("Build"):
        lowers, upper, _ = layers_of(container)
        layers = [Layer(number, path) for number, path in enumerate(lowers, 1)][::-1]
    else:
        _, upper, _ = layers_of(container)
        layers = of_image(image_of(container))
    disk = container.paths.disk if is_unmounted(container) else ""
    title = "what the container has written"
    return [Layer(len(layers) + 1, upper, is_live=True, title=title, disk=disk), *layers]


def is_unmounted(container: Container) -> bool:
    """Whether its upperdir is in a disk file, which is mounted only while it runs."""
    return has_quota(container) and not container.state["Pid"]


def image_of(container: Container) -> Image:
    """The image of a container. Raises NotFound if it was removed."""
    from minidock.engine.image.images import ImageStore

    return ImageStore(container.store).resolve(container.document["Image"])


def steps(image: Image) -> list[str]:
    """The step that created each layer, lowest first: a Dockerfile command, or a comment."""
    return [
        " ".join((entry.get("created_by") or entry.get("comment") or "").split())
        for entry in image.config.get("history") or []
        if not entry.get("empty_layer")
    ]
