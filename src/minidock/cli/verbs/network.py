"""`network …`: manage networks."""

from __future__ import annotations

from minidock.cli.flags.filters import (
    BadFilter,
    apply_filters,
    boolean,
    filter_flag,
    has_label,
    matches_regexp,
)
from minidock.cli.frame.command import command
from minidock.cli.frame.complete import networks
from minidock.cli.frame.lazy import Group
from minidock.cli.frame.pflag import switch, unsupported, value
from minidock.cli.output.columns import Row
from minidock.cli.output.human import go_time, short_id
from minidock.cli.output.inspect_output import inspect_all
from minidock.cli.output.table import format_flag, write_column, write_rows
from minidock.paths import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.cli.flags.filters import Reader, Test
    from minidock.cli.frame.lazy import Table
    from minidock.document_types.network import NetworkInspect

_COMMANDS: Table = {
    "connect": ("Commands", "network_change:connect", "Connect a container to one more network"),
    "create": ("Commands", "network_change:create", "Create a network"),
    "disconnect": (
        "Commands",
        "network_change:disconnect",
        "Remove a container from a network",
    ),
    "inspect": (
        "Commands",
        "network:inspect",
        "Show all details of networks",
    ),
    "ls": ("Commands", "network:ls", "List networks"),
    "prune": ("Commands", "network_change:prune", "Remove networks without containers"),
    "rm": ("Commands", "network_change:rm", "Remove networks"),
}
_COLUMNS = ("ID", "Name", "Driver", "Scope")
_HEADINGS = {
    "ID": "NETWORK ID",
    "Name": "NAME",
    "Driver": "DRIVER",
    "Scope": "SCOPE",
    "IPv6": "IPV6",
    "Internal": "INTERNAL",
    "Labels": "LABELS",
    "CreatedAt": "CREATED AT",
}


def _network(given: dict[str, object]) -> None:
    """Manage networks"""


network = Group(_COMMANDS, _network, aliases={"list": "ls", "remove": "rm"})


def is_builtin(network: NetworkInspect) -> bool:
    """Whether a network is predefined: bridge, host or none."""
    return network["Name"] in ("bridge", "host", "none")


@command()
@filter_flag
@format_flag
@switch("--no-trunc", help="Don't truncate output")
@switch("-q", "--quiet", help="Print only network IDs")
def ls(
    arguments: tuple[str, ...],
    *,
    filter: tuple[tuple[str, str], ...],
    format: str,
    no_trunc: bool,
    quiet: bool,
) -> None:
    """List networks"""
    from minidock.engine.network.lookup import list_networks

    found = apply_filters(list_networks(Store()), filter, _FILTERS)
    found.sort(key=lambda network: str(network["Name"]))
    rows = [_row(network, truncate=not no_trunc) for network in found]
    if quiet:
        write_column(rows, "ID")
    else:
        write_rows(rows, format=format, columns=_COLUMNS, headings=_HEADINGS)


_FILTERS: dict[str, Reader[NetworkInspect]] = {
    "dangling": boolean("dangling", lambda n: not n["Containers"] and not is_builtin(n)),
    "driver": lambda wanted: lambda n: n["Driver"] == wanted,
    "id": lambda wanted: lambda n: matches_regexp(wanted, n["Id"]),
    "label": lambda wanted: lambda n: has_label(n["Labels"], wanted),
    "name": lambda wanted: lambda n: matches_regexp(wanted, n["Name"]),
    "scope": lambda wanted: lambda n: n["Scope"] == wanted,
    "type": lambda wanted: _has_type(wanted),
}


def _has_type(wanted: str) -> Test[NetworkInspect]:
    if wanted not in ("builtin", "custom"):
        raise BadFilter(
            f"invalid filter: 'type'='{wanted}'", hint="supported values: custom, builtin"
        )
    return lambda n: (wanted == "builtin") == is_builtin(n)


def _row(network: NetworkInspect, *, truncate: bool) -> Row:
    labels = network["Labels"] or {}
    return Row(
        "formatter.networkContext",
        {
            "ID": lambda: short_id(network["Id"]) if truncate else network["Id"],
            "Name": lambda: network["Name"],
            "Driver": lambda: network["Driver"],
            "Scope": lambda: network["Scope"],
            "IPv6": lambda: str(network["EnableIPv6"]).lower(),
            "Internal": lambda: str(network["Internal"]).lower(),
            "Labels": lambda: ",".join(f"{name}={labels[name]}" for name in sorted(labels)),
            "Label": lambda name: labels.get(name, ""),
            "CreatedAt": lambda: go_time(network["Created"]),
        },
    )


@command("NETWORK [NETWORK...]", at_least=1, complete=networks)
@value("-f", "--format", help="Format output: 'json' or a Go template")
@unsupported("-v", "--verbose", because="Swarm is not supported", bare="true", unless=("false",))
def inspect(arguments: tuple[str, ...], *, format: str | None) -> int:
    """Show all details of networks"""
    from minidock.engine.network.lookup import inspect as inspect_network

    store = Store()
    return inspect_all(
        arguments,
        lambda name: ("types.NetworkResource", inspect_network(store, name)),
        format=format,
    )
