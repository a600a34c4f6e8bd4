"""Base images of stages: found in the store, or pulled from a registry."""

from __future__ import annotations

from minidock.engine.dockerfile.dockerfile_error import DockerfileError
from minidock.engine.image.image import Image
from minidock.engine.image.images import ImageStore
from minidock.engine.registry.transfer_progress import Reporter
from minidock.errors import NotFound, RegistryError, UsageError
from minidock.oci import image_config, reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.engine.build.progress import Vertex
    from minidock.paths import Store


def find_image(store: Store, name: str, *, pull: bool, vertex: Vertex) -> Image:
    """The image of a FROM or --from. Pulls it if the store lacks it, or if `pull` is set.

    Raises NotFound; DockerfileError for an invalid name or another platform's image.
    """
    try:
        reference.parse(name)
    except UsageError as error:
        raise DockerfileError(f"failed to parse stage name {name!r}: {error}") from None
    images = ImageStore(store)
    if not pull:
        try:
            return _native(images.resolve(name), name)
        except NotFound:
            pass
    return _native(_pull(store, name, vertex), name)


class _VertexReporter(Reporter):
    """Passes the lines of a pull to a vertex."""

    def __init__(self, vertex: Vertex) -> None:
        self._vertex = vertex

    def line(self, text: str) -> None:
        self._vertex.say(text)


def full_name(name: str) -> str:
    """The canonical reference of a name: busybox is docker.io/library/busybox:latest."""
    try:
        return str(reference.parse(name).with_default_tag())
    except UsageError:
        return name  # an ID prefix


def _native(image: Image, name: str) -> Image:
    architecture = image.config.get("architecture") or ""
    native = image_config.host_architecture()
    if architecture and architecture != native:
        raise DockerfileError(
            f"{name} is an image for {architecture}, and this machine is {native}",
            hint="minidock builds for the machine that it runs on",
        )
    return image


def _pull(store: Store, name: str, vertex: Vertex) -> Image:
    from minidock.engine.image.image_hints import where_from
    from minidock.engine.registry.pull import pull  # imports urllib3: only when pulling

    try:
        return pull(store, name, progress=_VertexReporter(vertex))
    except (RegistryError, NotFound) as error:
        problem = f"{name}: failed to resolve source metadata for {full_name(name)}: {error}"
        hint = f"{error.hint}\n{where_from(store, name)}".lstrip("\n")
        raise NotFound(problem, hint=hint) from error
