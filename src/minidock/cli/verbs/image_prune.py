"""`image prune`: remove unused images."""

from __future__ import annotations

from minidock.cli.flags.filters import FILTER, BadFilter, read_filters
from minidock.cli.frame.command import command
from minidock.cli.frame.pflag import switch, values
from minidock.cli.verbs.image_list import filters_of_prune
from minidock.paths import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.cli.flags.filters import Test
    from minidock.engine.image.image import Image

_DANGLING = "This will remove all dangling images."
_ALL = "This will remove all images without at least one container associated to them."


@command()
@switch("-a", "--all", help="Remove all unused images, not only dangling ones")
@values("--filter", type=FILTER, help="Remove only objects that match a filter, such as until=24h")
@switch("-f", "--force", help="Do not ask for confirmation")
def prune(
    arguments: tuple[str, ...], *, all: bool, filter: tuple[tuple[str, str], ...], force: bool
) -> None:
    """Remove unused images"""
    from minidock.cli.frame.confirm import confirm
    from minidock.cli.output.human import size

    _read_filters(filter, everything=all)
    if not force and not confirm(_ALL if all else _DANGLING):
        return
    lines, freed_bytes = prune_images(Store(), filter, everything=all)
    if lines:
        print("Deleted Images:")
        print("".join(f"{line}\n" for line in lines))
    print(f"Total reclaimed space: {size(freed_bytes)}")


def prune_images(
    store: Store, filters: tuple[tuple[str, str], ...], *, everything: bool
) -> tuple[list[str], int]:
    """Remove unused images; returns Docker's lines, and the bytes of the removed layers.

    everything: also those that have a tag.
    """
    from minidock.engine.image.references import users_of
    from minidock.engine.image.removal import prune as remove_unused

    wanted = _read_filters(filters, everything=everything)
    lines, freed_bytes = remove_unused(
        store, tagged_too=everything, wanted=wanted, in_use=users_of(store)
    )
    return [f"{line[0].lower()}{line[1:]}" for line in lines], freed_bytes


def _read_filters(filters: tuple[tuple[str, str], ...], *, everything: bool) -> Test[Image]:
    """Read the filters; raises BadFilter, also for a dangling= that contradicts -a."""
    _check_dangling(filters, "false" if everything else "true")
    return read_filters(tuple(f for f in filters if f[0] != "dangling"), filters_of_prune())


def _check_dangling(filters: tuple[tuple[str, str], ...], ours: str) -> None:
    """Refuse a filter dangling= that contradicts -a, which decides whether tagged images go."""
    for name, wanted in filters:
        if name == "dangling" and wanted != ours:
            both = " ".join(sorted((ours, wanted)))
            raise BadFilter(
                f"invalid filter 'dangling=[{both}]'", hint="use -a to remove tagged images too"
            )
