"""`system df`: disk usage of images, containers, volumes and the build cache."""

from __future__ import annotations

from minidock.cli.frame.command import command
from minidock.cli.frame.pflag import switch
from minidock.cli.output.columns import Row
from minidock.cli.output.human import size
from minidock.cli.output.sizes import container_sizes, images_and_layers, tree_bytes
from minidock.cli.output.table import format_flag, write_rows
from minidock.paths import Store

_COLUMNS = ("Type", "TotalCount", "Active", "Size", "Reclaimable")
_HEADINGS = {
    "Type": "TYPE", "TotalCount": "TOTAL", "Active": "ACTIVE", "Size": "SIZE",
    "Reclaimable": "RECLAIMABLE",
}  # fmt: skip


class Usage:
    """Disk usage of one kind of objects. free_bytes: that of unused ones."""

    def __init__(self, kind: str, count: int, active: int, all_bytes: int, free_bytes: int) -> None:
        self.kind = kind
        self.count = count
        self.active = active
        self.all_bytes = all_bytes
        self.free_bytes = free_bytes

    @property
    def reclaimable(self) -> str:
        if not self.all_bytes or self.kind == "Build Cache":
            return size(self.free_bytes)
        return f"{size(self.free_bytes)} ({100 * self.free_bytes // self.all_bytes}%)"


@command()
@format_flag
@switch("-v", "--verbose", help="Show each image, container, volume and cache record")
def df(arguments: tuple[str, ...], *, format: str, verbose: bool) -> None:
    """Show minidock disk usage"""
    store = Store()
    if verbose:
        from minidock.cli.verbs.system_df_details import write_details

        write_details(store, format=format)
        return
    usages = (_images(store), _containers(store), _volumes(store), _build_cache(store))
    rows = [_row(usage) for usage in usages]
    write_rows(rows, format=format, columns=_COLUMNS, headings=_HEADINGS)


def _row(usage: Usage) -> Row:
    return Row(
        "formatter.diskUsageImagesContext",
        {
            "Type": lambda: usage.kind,
            "TotalCount": lambda: str(usage.count),
            "Active": lambda: str(usage.active),
            "Size": lambda: size(usage.all_bytes),
            "Reclaimable": lambda: usage.reclaimable,
        },
    )


def _images(store: Store) -> Usage:
    """Count each layer once; layers that a used image shares with others count as reclaimable."""
    from minidock.engine.store.container_json import list_documents

    images, holders, sizes = images_and_layers(store)
    used = {document["Image"] for document in list_documents(store)}
    active = [image for image in images if image.id in used]
    own = sum(sizes[c] for image in active for c in image.chain_ids if holders[c] == 1)
    total = sum(sizes.values())
    return Usage("Images", len(images), len(active), total, total - own)


def _containers(store: Store) -> Usage:
    from minidock.engine.container.lookup import list_containers

    containers = list_containers(store)
    sizes = {container.id: container_sizes(store, container)[0] for container in containers}
    active = [container for container in containers if container.running]
    free = sum(sizes.values()) - sum(sizes[container.id] for container in active)
    return Usage("Containers", len(containers), len(active), sum(sizes.values()), free)


def _volumes(store: Store) -> Usage:
    from minidock.engine.container import volumes

    used = volumes.users_by_volume(store)
    found = volumes.list(store)
    sizes = {volume["Name"]: tree_bytes(volume["Mountpoint"]) for volume in found}
    free = sum(count for name, count in sizes.items() if name not in used)
    active = sum(name in used for name in sizes)
    return Usage("Local Volumes", len(sizes), active, sum(sizes.values()), free)


def _build_cache(store: Store) -> Usage:
    from minidock.engine.build.prune import list_cache_records

    found = list_cache_records(store)
    free = sum(one.size_bytes for one in found if not one.in_use)
    active = sum(one.in_use for one in found)
    return Usage("Build Cache", len(found), active, sum(one.size_bytes for one in found), free)
