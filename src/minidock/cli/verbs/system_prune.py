"""`system prune`: remove unused objects of all kinds, after one confirmation."""

from __future__ import annotations

from minidock.cli.flags.filters import FILTER, BadFilter, read_filters, until
from minidock.cli.frame.command import command
from minidock.cli.frame.pflag import switch, values
from minidock.cli.output.human import size
from minidock.paths import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    Filters = tuple[tuple[str, str], ...]


@command()
@switch("-a", "--all", help="Remove all unused images, not only dangling ones")
@values(
    "--filter",
    type=FILTER,
    help="Remove only objects that match a filter, such as label=NAME=VALUE",
)
@switch("-f", "--force", help="Do not ask for confirmation")
@switch("--volumes", help="Prune anonymous volumes")
def prune(
    arguments: tuple[str, ...], *, all: bool, filter: Filters, force: bool, volumes: bool
) -> None:
    """Remove unused data"""
    from minidock.cli.frame.confirm import confirm
    from minidock.cli.verbs.image_prune import prune_images
    from minidock.cli.verbs.network_change import prune_networks
    from minidock.cli.verbs.prune import CONTAINER_FILTERS, prune_containers, prune_volumes

    read_filters(filter, CONTAINER_FILTERS)  # images and networks have the same
    if volumes and any(name == "until" for name, _ in filter):
        raise BadFilter('the "until" filter is not supported with "--volumes"')
    if not force and not confirm(_warning(filter, everything=all, volumes=volumes)):
        return
    store = Store()
    deleted, reclaimed = prune_containers(store, filter)
    _tell("Deleted Containers", deleted)
    _tell("Deleted Networks", prune_networks(store, filter))
    if volumes:
        deleted, freed = prune_volumes(store, filter, everything=False)
        _tell("Deleted Volumes", deleted)
        reclaimed += freed
    deleted, freed = prune_images(store, filter, everything=all)
    _tell("Deleted Images", deleted)
    reclaimed += freed
    deleted, freed = _prune_build_cache(store, filter, everything=all)
    _tell("Deleted build cache objects", deleted)
    print(f"Total reclaimed space: {size(reclaimed + freed)}")


def _tell(heading: str, names: list[str]) -> None:
    if names:
        print(f"{heading}:\n" + "\n".join(names) + "\n", flush=True)


def _warning(filters: Filters, *, everything: bool, volumes: bool) -> str:
    lines = [
        "all stopped containers",
        "all networks not used by at least one container",
        *["all anonymous volumes not used by at least one container"][:volumes],
        "all images without at least one container associated to them"
        if everything
        else "all dangling images",
        "all build cache" if everything else "unused build cache",
    ]
    warning = "This will remove:\n" + "".join(f"  - {line}\n" for line in lines)
    if filters:
        warning += "\n  Items to be pruned will be filtered with:\n"
        warning += "".join(f"  - {name}={text}\n" for name, text in sorted(filters))
    return warning


def _prune_build_cache(
    store: Store, filters: Filters, *, everything: bool
) -> tuple[list[str], int]:
    """Prune the build cache; with label filters it stays, since records have no labels."""
    from minidock.engine.build.prune import prune as prune_cache

    if any(name != "until" for name, _ in filters):
        return [], 0
    moments = [until(text) for _, text in filters]
    before = min(moments) if moments else None
    gone, freed = prune_cache(store, everything=everything, before=before)
    return [one.id for one in gone], freed
