"""`images` and `image ls`: list images, one line per name.

Source: docker's own output; Docker Engine API 1.45, ImageList.
"""

from __future__ import annotations

from minidock.cli.flags.filters import (
    BadFilter,
    apply_filters,
    filter_flag,
    has_label,
    matches_glob,
    parse_filter_bool,
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
    from typing import Any

    from minidock.cli.flags.filters import Test
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
    check_until(filter)
    found = apply_filters(found, filter, _tests())
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


def _tests() -> dict[str, Test[Image]]:
    """The filters of `images`; each is given an image and the value."""

    def created_of(reference: str) -> float:
        from minidock.engine.image.images import ImageStore

        return moment_of(ImageStore(Store()).resolve(reference).created)

    def is_dangling(image: Image, wanted: str) -> bool:
        if parse_filter_bool("dangling", wanted):
            return not image.references
        return bool(image.references or image.digests)

    return {
        "before": lambda image, wanted: moment_of(image.created) < created_of(wanted),
        "dangling": is_dangling,
        "label": lambda image, wanted: has_label(_labels(image), wanted),
        "reference": lambda image, wanted: any(
            _is_wanted(name, [wanted]) for name in image.references + image.digests
        ),
        "since": lambda image, wanted: moment_of(image.created) > created_of(wanted),
        "until": _is_older,
    }


def filters_of_prune() -> dict[str, Test[Image]]:
    """The filters of `image prune`."""
    return {
        "label": lambda image, wanted: has_label(_labels(image), wanted),
        "label!": lambda image, wanted: not has_label(_labels(image), wanted),
        "until": _is_older,
    }


def _labels(image: Image) -> dict[str, str]:
    config: dict[str, Any] = image.config.get("config") or {}
    return config.get("Labels") or {}


def check_until(filters: tuple[tuple[str, str], ...]) -> None:
    """Refuse an invalid timestamp in a filter "until", even without images."""
    for name, wanted in filters:
        if name == "until":
            _until(wanted)


def _is_older(image: Image, wanted: str) -> bool:
    return moment_of(image.created) <= _until(wanted)


def _until(wanted: str) -> float:
    from minidock.cli.flags.timestamps import parse_timestamp

    try:
        return parse_timestamp(wanted)
    except ValueError as error:
        raise BadFilter(str(error)) from None
