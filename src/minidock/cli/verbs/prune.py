"""`container prune` and `volume prune`: remove unused objects, after confirmation."""

from __future__ import annotations

from _operator import le

from minidock.cli.flags.filters import (
    FILTER,
    BadFilter,
    apply_filters,
    compared,
    label_filters,
    read_filters,
    until,
)
from minidock.cli.frame.command import command
from minidock.cli.frame.pflag import parse_bool, switch, values
from minidock.cli.output.human import moment_of, size
from minidock.cli.output.sizes import container_sizes, tree_bytes
from minidock.errors import Conflict, NotFound
from minidock.paths import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.cli.flags.filters import Reader
    from minidock.document_types.store import VolumeInspect
    from minidock.engine.container.containers import Container

    Filters = tuple[tuple[str, str], ...]


@command()
@values("--filter", type=FILTER, help="Remove only objects that match a filter, such as until=24h")
@switch("-f", "--force", help="Do not ask for confirmation")
def containers(arguments: tuple[str, ...], *, filter: Filters, force: bool) -> None:
    """Remove the stopped containers"""
    from minidock.cli.frame.confirm import confirm

    read_filters(filter, CONTAINER_FILTERS)
    if not force and not confirm("This will remove all stopped containers."):
        return
    deleted, reclaimed = prune_containers(Store(), filter)
    report({"Deleted Containers": deleted}, reclaimed)


@command()
@switch("-a", "--all", help="Remove all unused volumes, not only anonymous ones")
@values("--filter", type=FILTER, help="Remove only objects that match a filter, such as label=NAME")
@switch("-f", "--force", help="Do not ask for confirmation")
def volumes(arguments: tuple[str, ...], *, all: bool, filter: Filters, force: bool) -> None:
    """Remove unused volumes"""
    from minidock.cli.frame.confirm import confirm

    if all and any(name == "all" for name, _ in filter):
        raise BadFilter("conflicting options: cannot specify both --all and --filter all=1")
    read_filters(_without_all(filter), _VOLUME_FILTERS)
    what = "all local volumes" if all else "anonymous local volumes"
    warning = f"This will remove {what} not used by at least one container."
    if not force and not confirm(warning):
        return
    deleted, reclaimed = prune_volumes(Store(), filter, everything=all)
    report({"Deleted Volumes": deleted}, reclaimed)


def report(deleted: dict[str, list[str]], reclaimed: int) -> None:
    """Print the removed objects by kind, and the reclaimed bytes."""
    for heading, names in deleted.items():
        if names:
            print(f"{heading}:\n" + "\n".join(names) + "\n")
    print(f"Total reclaimed space: {size(reclaimed)}")


def prune_containers(store: Store, filters: Filters) -> tuple[list[str], int]:
    """Remove stopped containers; returns their IDs, and the reclaimed bytes."""
    from minidock.engine.container.lookup import list_containers
    from minidock.engine.lifecycle.remove import remove
    from minidock.engine.store.event_log import emit_pruned

    deleted, reclaimed = [], 0
    for container in apply_filters(list_containers(store), filters, CONTAINER_FILTERS):
        if container.running:
            continue
        written = _written(store, container)
        try:
            remove(store, container.id)
        except (Conflict, NotFound):
            continue  # started or removed by another process
        reclaimed += written
        deleted.append(container.id)
    emit_pruned(store, "container", reclaimed)
    return deleted, reclaimed


def _written(store: Store, container: Container) -> int:
    return container_sizes(store, container)[0]


def prune_volumes(store: Store, filters: Filters, *, everything: bool) -> tuple[list[str], int]:
    """Remove unused volumes; returns their names, and the reclaimed bytes.

    A volume with options stays, as in Docker: its data is elsewhere. everything: named volumes too,
    as with the filter all=true.
    """
    from minidock.engine.container import volumes as engine
    from minidock.engine.store.event_log import emit_pruned

    everything = everything or any(_truth(text) for name, text in filters if name == "all")
    used = engine.users_by_volume(store)
    deleted, reclaimed = [], 0
    for volume in apply_filters(engine.list(store), _without_all(filters), _VOLUME_FILTERS):
        if volume["Name"] in used or volume["Options"]:
            continue
        if not (everything or _is_anonymous(volume)):
            continue
        count = tree_bytes(volume["Mountpoint"])
        try:
            engine.remove(store, volume["Name"])
        except (Conflict, NotFound):
            continue  # in use by now, or removed by another process
        reclaimed += count
        deleted.append(volume["Name"])
    emit_pruned(store, "volume", reclaimed)
    return deleted, reclaimed


def _without_all(filters: Filters) -> Filters:
    return tuple(f for f in filters if f[0] != "all")


def _is_anonymous(volume: VolumeInspect) -> bool:
    from minidock.engine.container.volumes import ANONYMOUS_LABEL

    return ANONYMOUS_LABEL in (volume["Labels"] or {})


def _truth(text: str) -> bool:
    try:
        return parse_bool(text)
    except ValueError as error:
        raise BadFilter(f"invalid filter 'all': {error}") from None


CONTAINER_FILTERS: dict[str, Reader[Container]] = {
    **label_filters(lambda c: c.config.get("Labels")),
    "until": lambda wanted: compared(le, lambda c: moment_of(c.document["Created"]), until(wanted)),
}
_VOLUME_FILTERS: dict[str, Reader[VolumeInspect]] = label_filters(lambda v: v["Labels"])
