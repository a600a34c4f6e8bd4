"""`images` and `image ls`: list images, one line per name.

Source: docker's own output; Docker Engine API 1.45, ImageList.
"""

from __future__ import annotations

from _operator import gt, le, lt

from minidock.cli.flags.filters import (
    apply_filters,
    compared,
    filter_flag,
    has_label,
    label_filters,
    matches_glob,
    parse_filter_bool,
    until,
)
from minidock.cli.frame.command import command
from minidock.cli.frame.complete import images as image_names
from minidock.cli.frame.pflag import switch
from minidock.cli.output.columns import Row
from minidock.cli.output.human import ago, local_time, moment_of, short_id, size
from minidock.cli.output.table import format_flag, write_column, write_rows
from minidock.paths import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from minidock.cli.flags.filters import Reader, Test
    from minidock.engine.image.image import Image

NONE = "<none>"
HEADINGS = {
    "ID": "IMAGE ID",
    "Repository": "REPOSITORY",
    "Tag": "TAG",
    "Digest": "DIGEST",
    "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT",
    "Size": "SIZE",
    "Containers": "CONTAINERS",
    "VirtualSize": "SIZE",
    "SharedSize": "SHARED SIZE",
    "UniqueSize": "UNIQUE SIZE",
}
_COLUMNS = ("Repository", "Tag", "ID", "CreatedSince", "Size")
_DIGEST_COLUMNS = (*_COLUMNS[:2], "Digest", *_COLUMNS[2:])


@command("[REPOSITORY[:TAG]]", at_most=1, complete=image_names)
@switch("-a", "--all", help="Include intermediate images of builds")
@switch("--digests", help="Show digests")
@filter_flag
@format_flag
@switch("--no-trunc", help="Don't truncate output")
@switch("-q", "--quiet", help="Print only image IDs")
def images(
    arguments: tuple[str, ...],
    *,
    all: bool,
    digests: bool,
    filter: tuple[tuple[str, str], ...],
    format: str,
    no_trunc: bool,
    quiet: bool,
) -> None:
    """List images"""
    from minidock.engine.image.images import ImageStore

    images = ImageStore(Store())
    found = images.list()
    parents = {image.parent for image in found}
    if arguments:
        filter = (*filter, ("reference", arguments[0]))
    if not all:  # an untagged parent image is an intermediate step
        found = [i for i in found if i.references or i.digests or i.id not in parents]
    found = apply_filters(found, filter, _filters())
    wanted = [text for name, text in filter if name == "reference"]
    rows = [
        row(image, repository, tag, digest, truncate=not no_trunc)
        for image in found
        for repository, tag, digest in _names(image, wanted, with_digests=digests)
    ]
    if quiet and format in ("", "table"):
        write_column(rows, "ID")
        return
    columns = _DIGEST_COLUMNS if digests else _COLUMNS
    write_rows(rows, format=format, columns=columns, headings=HEADINGS)


def _names(
    image: Image, wanted: list[str], *, with_digests: bool
) -> Iterator[tuple[str, str, str]]:
    """An image's lines: repository, tag and digest of each of its names."""
    by_repository = {name.partition("@")[0]: name.partition("@")[2] for name in image.digests}
    if not with_digests:
        by_repository = dict.fromkeys(by_repository, "")
    tagged = {name.rpartition(":")[0] for name in image.references}
    names = [name for name in image.references if not wanted or _is_wanted(name, wanted)]
    for name in names:
        repository, _, tag = name.rpartition(":")
        yield repository, tag, by_repository.get(repository) or NONE
    for repository, digest in by_repository.items():
        if repository not in tagged and (with_digests or not image.references):
            yield repository, NONE, digest
    if not image.references and not image.digests:
        yield NONE, NONE, NONE


def _is_wanted(name: str, patterns: list[str]) -> bool:
    """Whether a name matches one of the patterns. A pattern without a tag matches all tags."""
    repository = name.partition("@")[0] if "@" in name else name.rpartition(":")[0]
    return any(
        matches_glob(pattern, name) or matches_glob(pattern, repository) for pattern in patterns
    )


def row(image: Image, repository: str, tag: str, digest: str, *, truncate: bool) -> Row:
    """A line for one of an image's names."""
    created = moment_of(image.created)
    shown_size = size(image.size, digits=3)
    return Row(
        "formatter.imageContext",
        {
            "ID": lambda: short_id(image.id) if truncate else image.id,
            "Repository": lambda: repository,
            "Tag": lambda: tag,
            "Digest": lambda: digest,
            "CreatedSince": lambda: ago(created) if created else "N/A",
            "CreatedAt": lambda: local_time(created),
            "Size": lambda: shown_size,
            "Containers": lambda: "N/A",
            "VirtualSize": lambda: size(image.size),
            "SharedSize": lambda: "N/A",
            "UniqueSize": lambda: "N/A",
        },
    )


def _filters() -> dict[str, Reader[Image]]:
    """The filters of `images`."""

    def created_of(reference: str) -> float:
        from minidock.engine.image.images import ImageStore

        return _created(ImageStore(Store()).resolve(reference))

    def is_dangling(wanted: str) -> Test[Image]:
        if parse_filter_bool("dangling", wanted):
            return lambda image: not image.references
        return lambda image: bool(image.references or image.digests)

    return {
        "before": lambda wanted: compared(lt, _created, created_of(wanted)),
        "dangling": is_dangling,
        "label": lambda wanted: lambda image: has_label(_labels(image), wanted),
        "reference": lambda wanted: (
            lambda image: any(
                _is_wanted(name, [wanted]) for name in image.references + image.digests
            )
        ),
        "since": lambda wanted: compared(gt, _created, created_of(wanted)),
        "until": _is_older,
    }


def filters_of_prune() -> dict[str, Reader[Image]]:
    """The filters of `image prune`."""
    return {**label_filters(_labels), "until": _is_older}


def _labels(image: Image) -> dict[str, str]:
    config = image.config.get("config") or {}
    return config.get("Labels") or {}


def _created(image: Image) -> float:
    return moment_of(image.created)


def _is_older(wanted: str) -> Test[Image]:
    return compared(le, _created, until(wanted))
