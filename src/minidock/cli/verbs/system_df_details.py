"""`system df -v`: each image, container, volume and record of the build cache, with what it takes.

Without a format these are four tables under headings. A template is given one object whose fields
Images, Containers, Volumes and BuildCache are lists of rows; "json" is that object.

Source: what docker 26.1 prints.
"""

from __future__ import annotations

import sys

from minidock.cli.output.columns import Row
from minidock.cli.output.human import ago, size
from minidock.cli.output.sizes import container_sizes, images_and_layers, tree_bytes
from minidock.cli.output.table import write_rows
from minidock.errors import MinidockError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.document_types.store import VolumeInspect
    from minidock.engine.build.prune import CacheRecord
    from minidock.engine.image.image import Image
    from minidock.paths import Store

_IMAGE_COLUMNS = (
    "Repository", "Tag", "ID", "CreatedSince", "Size", "SharedSize", "UniqueSize", "Containers",
)  # fmt: skip
_CONTAINER_COLUMNS = (
    "ID", "Image", "Command", "LocalVolumes", "Size", "RunningFor", "Status", "Names",
)  # fmt: skip
_VOLUME_COLUMNS = ("Name", "Links", "Size")
_CACHE_COLUMNS = (
    "ID", "CacheType", "Size", "CreatedSince", "LastUsedSince", "UsageCount", "Shared",
)  # fmt: skip
_CACHE_HEADINGS = {
    "ID": "CACHE ID", "CacheType": "CACHE TYPE", "Size": "SIZE", "CreatedSince": "CREATED",
    "LastUsedSince": "LAST USED", "UsageCount": "USAGE", "Shared": "SHARED",
}  # fmt: skip
_IMAGE_FIELDS = (
    "Containers", "CreatedAt", "CreatedSince", "Digest", "ID", "Repository", "SharedSize", "Size",
    "Tag", "UniqueSize", "VirtualSize",
)  # fmt: skip


def write_details(store: Store, *, format: str) -> None:
    """Print all of it. format: as in `system df`; "table TEMPLATE" has no columns to name here."""
    from minidock.cli.output import container_row
    from minidock.cli.verbs.image_list import HEADINGS as IMAGE_HEADINGS
    from minidock.cli.verbs.volume import HEADINGS as VOLUME_HEADINGS

    if format not in ("", "table"):
        _write_object(store, format)
        return
    sections = (
        ("Images space usage:", _images(store, truncate=True), _IMAGE_COLUMNS, IMAGE_HEADINGS),
        (
            "Containers space usage:",
            _containers(store, truncate=True),
            _CONTAINER_COLUMNS,
            container_row.HEADINGS,
        ),
        ("Local Volumes space usage:", _volumes(store), _VOLUME_COLUMNS, VOLUME_HEADINGS),
    )
    for heading, rows, columns, headings in sections:
        print(f"{heading}\n")
        write_rows(rows, format="", columns=columns, headings=headings)
        print()
    cached = _cached(store)
    print(f"Build cache usage: {size(sum(one.size_bytes for one in cached))}\n")
    rows = [_cache_row(one) for one in cached]
    write_rows(rows, format="", columns=_CACHE_COLUMNS, headings=_CACHE_HEADINGS)


def _write_object(store: Store, format: str) -> None:
    from minidock.cli.output.go_types import typed
    from minidock.cli.output.inspect_output import parsed_template
    from minidock.cli.output.template.template import TemplateError

    whole = {
        "Images": [_shown(row, _IMAGE_FIELDS) for row in _images(store, truncate=False)],
        "Containers": [_shown(row) for row in _containers(store, truncate=False)],
        "Volumes": [_shown(row) for row in _volumes(store)],
        "BuildCache": [_shown(_cache_row(one)) for one in _cached(store)],
    }
    template = parsed_template(
        "{{json .}}" if format == "json" else format.removeprefix("table").lstrip()
    )
    try:
        text = template.render(typed("*formatter.diskUsageContext", whole))
    except TemplateError as error:
        raise BadField(f"template parsing error: {error}") from None
    if format == "json":  # escaped by Go's encoder, for HTML
        for character in "<>&":
            text = text.replace(character, f"\\u{ord(character):04x}")
    sys.stdout.write(text)  # without a newline, as Docker does


class BadField(MinidockError):
    """A template with an unknown field."""

    exit_code = 1


def _shown(row: Row, fields: tuple[str, ...] = ()) -> dict[str, str]:
    """Return the cells of a row for a template, without those that take an argument."""
    return {name: row.cells[name]() for name in fields or sorted(row.cells) if name != "Label"}


def _images(store: Store, *, truncate: bool) -> list[Row]:
    """Return one row per image: its first name, its shared and unique size."""
    from minidock.cli.verbs.image_list import NONE, row
    from minidock.engine.store.container_json import list_documents

    images, holders, sizes = images_and_layers(store)
    users = [document["Image"] for document in list_documents(store)]

    def one(image: Image) -> Row:
        repository, _, tag = (image.references or [f"{NONE}:{NONE}"])[0].rpartition(":")
        shared = sum(sizes[c] for c in image.chain_ids if holders[c] > 1)
        made = row(image, repository, tag, "", truncate=truncate)
        made.cells |= {
            "SharedSize": lambda: size(shared),
            "UniqueSize": lambda: size(image.size - shared),
            "Containers": lambda: str(users.count(image.id)),
        }
        return made

    return [one(image) for image in images]


def _containers(store: Store, *, truncate: bool) -> list[Row]:
    from minidock.cli.output import container_row
    from minidock.engine.container.lookup import list_containers

    rows = []
    for container in list_containers(store):
        entry = container_row.summary(container.document, container.config["Image"])
        written, whole = container_sizes(store, container)
        # The size alone, without "(virtual …)", which is what `ps -s` says of an image too.
        row = container_row.row(
            {**entry, "SizeRw": written, "SizeRootFs": whole}, truncate=truncate
        )
        row.cells["Size"] = lambda written=written: size(written, digits=3)
        rows.append(row)
    return rows


def _volumes(store: Store) -> list[Row]:
    from minidock.cli.verbs.volume import row
    from minidock.engine.container import volumes

    used = volumes.users_by_volume(store)

    def one(volume: VolumeInspect) -> Row:
        made = row(volume)
        made.cells |= {
            "Links": lambda: str(len(used.get(volume["Name"], ()))),
            "Size": lambda: size(tree_bytes(volume["Mountpoint"])),
        }
        return made

    return [one(volume) for volume in volumes.list(store)]


def _cached(store: Store) -> list[CacheRecord]:
    from minidock.engine.build.prune import list_cache_records

    return list_cache_records(store)


def _cache_row(one: CacheRecord) -> Row:
    """Return the row of a cache record; creation time and usage count are not recorded."""
    return Row(
        "formatter.buildCacheContext",
        {
            "ID": lambda: one.id,
            "CacheType": lambda: "regular" if one.chain_id else "exec.cachemount",
            "Size": lambda: size(one.size_bytes),
            "CreatedSince": lambda: "N/A",
            "LastUsedSince": lambda: ago(one.used),
            "UsageCount": lambda: "N/A",
            "Shared": lambda: "true" if one.in_use else "false",
            "InUse": lambda: "true" if one.in_use else "false",
        },
    )
