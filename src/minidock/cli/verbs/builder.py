"""`builder …` and `buildx …`: manage the build cache; `build` by its long names."""

from __future__ import annotations

from minidock.cli.flags.units import duration_nanoseconds, size_bytes
from minidock.cli.frame.command import command
from minidock.cli.frame.lazy import Group
from minidock.cli.frame.pflag import FlagType, switch, unsupported, value, values
from minidock.errors import UsageError
from minidock.paths import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.cli.frame.lazy import Table
    from minidock.engine.build.prune import CacheRecord

_COMMANDS: Table = {
    "build": ("Commands", "build:build", "Build an image by the instructions of a Dockerfile"),
    "du": ("Commands", "builder:du", "Disk usage"),
    "prune": ("Commands", "builder:prune", "Remove build cache"),
}
_ONE_BUILDER = unsupported("--builder", because="there is only one builder", unless=("default",))
_ABSENT = dict.fromkeys(
    ("bake", "create", "dial-stdio", "imagetools", "inspect", "ls", "rm", "stop", "use", "version"),
    "there is only one builder, minidock itself",
)


@_ONE_BUILDER
def _builder(given: dict[str, object]) -> None:
    """Manage builds and the build cache"""


@_ONE_BUILDER
def _buildx(given: dict[str, object]) -> None:
    """Alias of builder"""


builder = Group(_COMMANDS, _builder, aliases={"b": "build"}, absent=_ABSENT)
buildx = Group(_COMMANDS, _buildx, aliases={"b": "build"}, absent=_ABSENT)


@command()
@switch("-a", "--all", help="Also remove records that images use")
@values("--filter", help="Remove only objects that match a filter, such as until=24h")
@switch("-f", "--force", help="Do not ask for confirmation")
@value(
    "--keep-storage",
    type=FlagType("bytes", size_bytes),
    default=0,
    help="Size of the cache to keep",
)
@switch("--verbose", help="Also print what created each record")
@_ONE_BUILDER
def prune(
    arguments: tuple[str, ...],
    *,
    all: bool,
    filter: tuple[str, ...],
    force: bool,
    keep_storage: int,
    verbose: bool,
) -> int:
    """Remove build cache"""
    from minidock.engine.build.prune import prune as prune_cache

    before = _before(filter)
    if not force and not _is_meant(everything=all):
        return 0
    gone, freed = prune_cache(Store(), everything=all, before=before, keep_bytes=keep_storage)
    _print_table(gone, verbose=verbose)
    from minidock.cli.output.human import size

    print(f"Total:\t{size(freed)}")
    return 0


@command()
@switch("--verbose", help="Also print what created each record")
@_ONE_BUILDER
@unsupported("--filter", because="du has no filters")
def du(arguments: tuple[str, ...], *, verbose: bool) -> None:
    """Disk usage"""
    from minidock.cli.output.human import size
    from minidock.engine.build.prune import list_cache_records

    found = list_cache_records(Store())
    _print_table(found, verbose=verbose)
    free = sum(one.size_bytes for one in found if not one.in_use)
    print(f"Reclaimable:\t{size(free)}")
    print(f"Total:\t\t{size(sum(one.size_bytes for one in found))}")


def _is_meant(*, everything: bool) -> bool:
    from minidock.cli.frame.confirm import confirm

    what = "all build cache" if everything else "all dangling build cache"
    return confirm(f"This will remove {what}.")


def _before(filters: tuple[str, ...]) -> float | None:
    """Parse until=24h into a timestamp; records used since then are kept."""
    import time

    before = None
    for text in filters:
        name, _, wanted = text.partition("=")
        if name not in ("until", "unused-for"):
            raise UsageError(
                f"invalid filter '{name}'",
                hint="the only supported filters are until=DURATION and unused-for=DURATION",
            )
        try:
            before = time.time() - duration_nanoseconds(wanted) / 1e9
        except ValueError as error:
            raise UsageError(f"invalid filter '{text}': {error}") from None
    return before


def _print_table(found: list[CacheRecord], *, verbose: bool) -> None:
    from minidock.cli.output.columns import align
    from minidock.cli.output.human import ago, size

    if not found:
        return
    headings = ["ID", "RECLAIMABLE", "SIZE", "LAST ACCESSED"]
    rows = [
        [one.id, "false" if one.in_use else "true", size(one.size_bytes), ago(one.used)]
        for one in found
    ]
    if verbose:
        headings.append("DESCRIPTION")
        rows = [[*row, one.description] for row, one in zip(rows, found, strict=True)]
    for line in align(["\t".join(row) for row in (headings, *rows)]):
        print(line)
