"""`volume …`: directories that outlive containers."""

from __future__ import annotations

from minidock.cli.flags.filters import (
    apply_filters,
    boolean,
    filter_flag,
    has_label,
    matches_regexp,
)
from minidock.cli.flags.process_flags import labels
from minidock.cli.frame.command import command
from minidock.cli.frame.complete import volumes
from minidock.cli.frame.error_output import for_each
from minidock.cli.frame.lazy import Group
from minidock.cli.frame.pflag import FlagType, switch, unsupported, value, values
from minidock.cli.output.columns import Row
from minidock.cli.output.inspect_output import inspect_all
from minidock.cli.output.table import format_flag, write_column, write_rows
from minidock.paths import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.cli.flags.filters import Reader
    from minidock.cli.frame.lazy import Table
    from minidock.cli.frame.pflag import F
    from minidock.document_types.store import VolumeInspect

_COMMANDS: Table = {
    "create": ("Commands", "volume:create", "Create a volume"),
    "inspect": (
        "Commands",
        "volume:inspect",
        "Show all details of volumes",
    ),
    "ls": ("Commands", "volume:ls", "List volumes"),
    "prune": ("Commands", "prune:volumes", "Remove unused volumes"),
    "rm": ("Commands", "volume:rm", "Remove volumes"),
}
_COLUMNS = ("Driver", "Name")
HEADINGS = {
    "Name": "VOLUME NAME",
    "Driver": "DRIVER",
    "Scope": "SCOPE",
    "Mountpoint": "MOUNTPOINT",
    "Labels": "LABELS",
    "Links": "LINKS",
    "Size": "SIZE",
}


def _volume(given: dict[str, object]) -> None:
    """Manage volumes"""


def _swarm_flags(function: F) -> F:
    """Declare Docker's flags for cluster volumes, which are refused."""
    for name in (
        "availability", "group", "limit-bytes", "required-bytes", "scope", "secret", "sharing",
        "topology-preferred", "topology-required", "type",
    ):  # fmt: skip
        function = unsupported(f"--{name}", because="Swarm cluster volumes are not supported")(
            function
        )
    return function


volume = Group(
    _COMMANDS,
    _volume,
    aliases={"list": "ls", "remove": "rm"},
    absent={"update": "Swarm cluster volumes are not supported"},
)


@command("[VOLUME]", at_most=1)
@value("-d", "--driver", default="local", help="Volume driver; only local is available")
@values("--label", help="Set a label of the volume (NAME=VALUE)")
@values("-o", "--opt", type=FlagType("map", str), help="Set driver specific options (NAME=VALUE)")
@_swarm_flags
def create(
    arguments: tuple[str, ...], *, driver: str, label: tuple[str, ...], opt: tuple[str, ...]
) -> None:
    """Create a volume"""
    from minidock.engine.container import volumes as engine

    options = {name: text for name, _, text in (o.partition("=") for o in opt)}
    wanted = arguments[0] if arguments else None
    named = labels(label, ())
    if wanted is None:
        named.setdefault(engine.ANONYMOUS_LABEL, "")
    made = engine.create(Store(), wanted, driver=driver, options=options, labels=named)
    print(made["Name"])


@command()
@filter_flag
@format_flag
@switch("-q", "--quiet", help="Print only volume names")
@unsupported(
    "--cluster", because="Swarm cluster volumes are not supported", bare="true", unless=("false",)
)
def ls(
    arguments: tuple[str, ...], *, filter: tuple[tuple[str, str], ...], format: str, quiet: bool
) -> None:
    """List volumes"""
    from minidock.engine.container import volumes as engine

    store = Store()
    found = apply_filters(engine.list(store), filter, _filters(store))
    rows = [row(found_one) for found_one in found]
    if quiet:
        write_column(rows, "Name")
    else:
        write_rows(rows, format=format, columns=_COLUMNS, headings=HEADINGS)


def row(volume: VolumeInspect) -> Row:
    """A volume's line; volume: as `inspect` makes it."""
    labels = volume["Labels"] or {}
    return Row(
        "formatter.volumeContext",
        {
            "Availability": lambda: "N/A",
            "Driver": lambda: volume["Driver"],
            "Group": lambda: "N/A",
            "Label": lambda name: labels.get(name, ""),
            "Labels": lambda: ",".join(f"{name}={labels[name]}" for name in sorted(labels)),
            "Links": lambda: "N/A",
            "Mountpoint": lambda: volume["Mountpoint"],
            "Name": lambda: volume["Name"],
            "Scope": lambda: volume["Scope"],
            "Size": lambda: "N/A",
            "Status": lambda: "N/A",
        },
    )


def _filters(store: Store) -> dict[str, Reader[VolumeInspect]]:
    from minidock.engine.container.volumes import users_by_volume

    used = users_by_volume(store)
    return {
        "dangling": boolean("dangling", lambda v: v["Name"] not in used),
        "driver": lambda wanted: lambda v: v["Driver"] == wanted,
        "label": lambda wanted: lambda v: has_label(v["Labels"], wanted),
        "name": lambda wanted: lambda v: matches_regexp(wanted, v["Name"]),
    }


@command("VOLUME [VOLUME...]", at_least=1, complete=volumes)
@value("-f", "--format", help="Format output: 'json' or a Go template")
def inspect(arguments: tuple[str, ...], *, format: str | None) -> int:
    """Show all details of volumes"""
    from minidock.engine.container import volumes as engine

    store = Store()
    return inspect_all(
        arguments, lambda name: ("volume.Volume", engine.inspect(store, name)), format=format
    )


@command("VOLUME [VOLUME...]", at_least=1, complete=volumes)
@switch("-f", "--force", help="Ignore volumes that do not exist")
def rm(arguments: tuple[str, ...], *, force: bool) -> int:
    """Remove volumes that no container uses"""
    from minidock.engine.container import volumes as engine

    store = Store()

    def remove_one(name: str) -> str:
        engine.remove(store, name, force=force)
        return name

    return for_each(arguments, remove_one)
