"""Completion: propose names of containers, images, volumes and networks to a shell.

Completion only reads names and repairs nothing. A user who may not read the store gets no names.
The table at the end has the values of flags.
"""

from __future__ import annotations

from minidock.paths import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    import click

    from minidock.document_types.container import ContainerState

    Proposals = Callable[[click.Context, click.Parameter, str], list[str]]


def containers(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of all containers."""
    return _names(incomplete, lambda state: True)


def running_containers(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of running containers."""
    return _names(incomplete, lambda state: state["Running"])


def stopped_containers(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of stopped containers."""
    return _names(incomplete, lambda state: not state["Running"])


def paused_containers(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of paused containers."""
    return _names(incomplete, lambda state: state["Paused"])


def images(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of images."""
    from minidock.engine.image.images import ImageStore

    try:
        found = ImageStore(Store()).list()
    except PermissionError:
        return []
    names = [name.removesuffix(":latest") for image in found for name in image.references]
    return [name for name in names if name.startswith(incomplete)]


def volumes(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of volumes."""
    from minidock.engine.container.volumes import list as list_volumes

    try:
        found = list_volumes(Store())
    except PermissionError:
        return []
    return [v["Name"] for v in found if v["Name"].startswith(incomplete)]


def containers_images_volumes(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[str]:
    """Names of containers, images and volumes, for `where`."""
    asked = (ctx, param, incomplete)
    return [*containers(*asked), *images(*asked), *volumes(*asked)]


def networks(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of networks."""
    from minidock.engine.network.network_json import list_names

    try:
        found = {"bridge", "host", "none", *list_names(Store())}
    except PermissionError:
        return []
    return sorted(name for name in found if name.startswith(incomplete))


def networks_and_containers(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[str]:
    """First argument: names of networks; second: names of containers."""
    found = containers if ctx.params.get("arguments") else networks
    return found(ctx, param, incomplete)


def objects(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of all objects, or of those of --type, for `inspect`."""
    kinds = {"container": containers, "image": images, "volume": volumes, "network": networks}
    wanted = [kinds[kind] for kind in (ctx.params.get("type"),) if kind in kinds]
    found = {n for kind in wanted or kinds.values() for n in kind(ctx, param, incomplete)}
    return sorted(found)


def recipes(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of the recipes of `image make`."""
    from minidock.engine.image.recipes import names

    return [name for name in names() if name.startswith(incomplete)]


def one_of(*words: str) -> Proposals:
    """These words."""

    def propose(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
        return [word for word in words if word.startswith(incomplete)]

    return propose


def _rows(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Values of --unfold."""
    from minidock.teach.look.rows import ROWS

    return [row for row in ROWS if row.startswith(incomplete)]


def _networks_to_join(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Values of --network: the name of a network, or container:NAME."""
    joined = [f"container:{name}" for name in running_containers(ctx, param, "")]
    found = [name for name in joined if name.startswith(incomplete)]
    return networks(ctx, param, incomplete) + found


def _names(incomplete: str, is_wanted: Callable[[ContainerState], bool]) -> list[str]:
    from minidock.engine.store.container_json import list_documents

    try:
        found = list_documents(Store())
    except PermissionError:
        return []
    names = [document["Name"].lstrip("/") for document in found if is_wanted(document["State"])]
    return [name for name in names if name.startswith(incomplete)]


# First long name of a flag -> the values to propose.
VALUES: dict[str, Proposals] = {
    "--network": _networks_to_join,
    "--volume": volumes,
    "--volumes-from": containers,
    "--pull": one_of("always", "missing", "never"),
    "--restart": one_of("always", "no", "on-failure", "unless-stopped"),
    "--log-driver": one_of("json-file", "none"),
    "--type": one_of("container", "image", "network", "volume"),
    "--stop-signal": one_of("HUP", "INT", "KILL", "QUIT", "TERM", "USR1", "USR2"),
    "--unfold": _rows,
    "--signal": one_of("HUP", "INT", "KILL", "QUIT", "STOP", "TERM", "USR1", "USR2"),
}
