"""What a shell proposes when Tab is pressed: names of containers and images.

Only names are read, without repairing anything, and nothing for who may not read the store.
"""

from __future__ import annotations

from minidock.paths import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    import click


def containers(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of all containers."""
    return _names(incomplete, only_running=False)


def running_containers(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of the containers that run."""
    return _names(incomplete, only_running=True)


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
    from minidock.engine.container.volumes import list as every_volume

    try:
        found = every_volume(Store())
    except PermissionError:
        return []
    return [v["Name"] for v in found if v["Name"].startswith(incomplete)]


def named_things(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of all that `where` knows."""
    asked = (ctx, param, incomplete)
    return [*containers(*asked), *images(*asked), *volumes(*asked)]


def networks(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of networks."""
    from minidock.engine.network.file import names

    try:
        found = {"bridge", "host", "none", *names(Store())}
    except PermissionError:
        return []
    return sorted(name for name in found if name.startswith(incomplete))


def networks_and_containers(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[str]:
    """Names of networks, and of the containers that may join them."""
    return [*networks(ctx, param, incomplete), *containers(ctx, param, incomplete)]


def _names(incomplete: str, *, only_running: bool) -> list[str]:
    from minidock.engine.container.containers import documents

    try:
        found: list[dict[str, Any]] = documents(Store())
    except PermissionError:
        return []
    names = [
        document["Name"].lstrip("/")
        for document in found
        if document["State"]["Running"] or not only_running
    ]
    return [name for name in names if name.startswith(incomplete)]
