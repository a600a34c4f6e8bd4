"""`inspect`: show the container, image, volume or network that has a name."""

from __future__ import annotations

from minidock.cli.frame.command import command
from minidock.cli.frame.complete import containers, objects
from minidock.cli.frame.pflag import switch, value
from minidock.cli.output.inspect_output import inspect_all
from minidock.errors import NotFound, UsageError
from minidock.paths import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Found = tuple[str, Mapping[str, object]]


@command("NAME|ID [NAME|ID...]", at_least=1, complete=objects)
@value("-f", "--format", help="Format output: 'json' or a Go template")
@switch("-s", "--size", help="Show the sizes of the files of containers")
@value(
    "--type", default="", help="Return JSON for specified type (container, image, network, volume)"
)
def inspect(arguments: tuple[str, ...], *, format: str | None, size: bool, type: str) -> int:
    """Show all details of containers, images, networks or volumes"""
    finders: dict[str, Callable[[Store, str], Found]] = {
        "container": _container_with_size if size else _container,
        "image": _image,
        "network": _network,
        "volume": _volume,
    }
    if type and type not in finders:
        raise UsageError(f'"{type}" is not a valid value for --type')
    store = Store()

    def find(reference: str) -> Found:
        if type:
            return finders[type](store, reference)
        for finder in finders.values():
            try:
                return finder(store, reference)
            except NotFound:
                continue
        raise NotFound(
            f"No such object: {reference}",
            hint="no container, image, network or volume has this name; list them with "
            "`minidock ps -a`, `images`, `network ls` and `volume ls`",
        )

    return inspect_all(arguments, find, format=format)


@command("CONTAINER [CONTAINER...]", at_least=1, complete=containers)
@value("-f", "--format", help="Format output: 'json' or a Go template")
@switch("-s", "--size", help="Show the sizes of the containers' files")
def inspect_container(arguments: tuple[str, ...], *, format: str | None, size: bool) -> int:
    """Show all details of containers"""
    store = Store()
    finder = _container_with_size if size else _container
    return inspect_all(arguments, lambda reference: finder(store, reference), format=format)


def _container(store: Store, reference: str) -> Found:
    from minidock.engine.container.lookup import find

    return "types.ContainerJSON", find(store, reference.removeprefix("/")).document


def _container_with_size(store: Store, reference: str) -> Found:
    from minidock.cli.output.sizes import container_sizes
    from minidock.engine.container.lookup import find

    container = find(store, reference.removeprefix("/"))
    written, whole = container_sizes(store, container)
    return "types.ContainerJSON", {**container.document, "SizeRw": written, "SizeRootFs": whole}


def _image(store: Store, reference: str) -> Found:
    from minidock.cli.verbs.image import find_image

    return find_image(store, reference)


def _network(store: Store, reference: str) -> Found:
    from minidock.engine.network.lookup import inspect as inspect_network

    return "types.NetworkResource", inspect_network(store, reference)


def _volume(store: Store, reference: str) -> Found:
    from minidock.engine.container.volumes import inspect as inspect_volume

    return "volume.Volume", inspect_volume(store, reference)
