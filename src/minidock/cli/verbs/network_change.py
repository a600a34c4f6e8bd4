"""`network create`, `connect`, `disconnect`, `rm` and `prune`."""

from __future__ import annotations

from _operator import lt

from minidock.cli.flags.filters import (
    FILTER,
    apply_filters,
    compared,
    label_filters,
    read_filters,
    until,
)
from minidock.cli.flags.network_flags import NO_IPV6, USE_NAMES, address_flag
from minidock.cli.flags.process_flags import labels
from minidock.cli.frame.command import command
from minidock.cli.frame.complete import networks, networks_and_containers
from minidock.cli.frame.error_output import for_each
from minidock.cli.frame.pflag import FlagType, switch, unsupported, value, values
from minidock.cli.output.human import moment_of
from minidock.cli.verbs.network import is_builtin
from minidock.document import without_empty
from minidock.errors import Conflict, NotFound
from minidock.paths import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.cli.flags.filters import Reader
    from minidock.document_types.network import EndpointRequest, IpamConfig, NetworkInspect

_SWARM = "Swarm is not supported"


def _pair(text: str) -> tuple[str, str]:
    """Parse "key=value"; the value is optional."""
    key, _, given = text.partition("=")
    return key, given


@command("NETWORK", at_least=1, at_most=1)
@switch("--attachable", help="Allow manual attachment of containers (always allowed)")
@values(
    "--aux-address",
    type=FlagType("map", _pair),
    help="Auxiliary IPv4 addresses, reserved from containers (NAME=ADDRESS)",
)
@value("-d", "--driver", default="bridge", help="Network driver; only bridge is available")
@values("--gateway", help="IPv4 gateway of the subnet (address of the bridge)")
@switch("--internal", help="No connections to or from outside, other than the host")
@values("--ip-range", help="Allocate container addresses from a sub-range")
@values("--label", help="Set a label of the network (NAME=VALUE)")
@values("-o", "--opt", type=FlagType("map", _pair), help="Set driver specific options (NAME=VALUE)")
@values("--subnet", help="Subnet in CIDR format (e.g., 10.5.0.0/16)")
@unsupported("--config-from", because=_SWARM)
@unsupported("--config-only", because=_SWARM, bare="true", unless=("false",))
@unsupported("--ingress", because=_SWARM, bare="true", unless=("false",))
@unsupported("--scope", because=_SWARM, unless=("local",))
@unsupported("--ipam-driver", because="the only IPAM driver is default", unless=("default",))
@unsupported("--ipam-opt", because="the default IPAM driver has no options")
@unsupported("--ipv6", because=NO_IPV6, bare="true", unless=("false",))
def create(
    arguments: tuple[str, ...],
    *,
    attachable: bool,
    aux_address: tuple[tuple[str, str], ...],
    driver: str,
    gateway: tuple[str, ...],
    internal: bool,
    ip_range: tuple[str, ...],
    label: tuple[str, ...],
    opt: tuple[tuple[str, str], ...],
    subnet: tuple[str, ...],
) -> None:
    """Create a network"""
    from minidock.engine.network import user_defined

    asked: IpamConfig = {
        "Subnet": _only_one("--subnet", subnet),
        "IPRange": _only_one("--ip-range", ip_range),
        "Gateway": _only_one("--gateway", gateway),
        "AuxiliaryAddresses": dict(aux_address),
    }
    made = user_defined.create(
        Store(),
        arguments[0],
        driver=driver,
        internal=internal,
        attachable=attachable,
        asked=without_empty(asked),
        labels=labels(label, ()),
        options=dict(opt),
    )
    print(made["Id"])


def _only_one(flag: str, given: tuple[str, ...]) -> str:
    found = [text for several in given for text in several.split(",")]
    if len(found) > 1:
        raise Conflict(f"{flag} is given twice: a network has one IPv4 subnet")
    return found[0] if found else ""


@command("NETWORK CONTAINER", at_least=2, at_most=2, complete=networks_and_containers)
@values("--alias", help="Alias: one more DNS name of the container on this network")
@address_flag
@unsupported("--driver-opt", because="the bridge driver has no endpoint options")
@unsupported("--ip6", because=NO_IPV6)
@unsupported("--link", because=USE_NAMES)
@unsupported("--link-local-ip", because="link-local addresses are not supported")
def connect(arguments: tuple[str, ...], *, alias: tuple[str, ...], ip: str) -> None:
    """Connect a container to one more network"""
    from minidock.engine.lifecycle import connect

    asked: EndpointRequest = {
        "IPAMConfig": {"IPv4Address": ip} if ip else {}, "DriverOpts": {}, "Aliases": list(alias),
    }  # fmt: skip
    name, container = arguments
    connect.connect(Store(), name, container, asked)


@command("NETWORK CONTAINER", at_least=2, at_most=2, complete=networks_and_containers)
@switch("-f", "--force", help="Accepted as docker has it; has no effect")
def disconnect(arguments: tuple[str, ...], *, force: bool) -> None:
    """Remove a container from a network

    A removed container leaves its networks at once: nothing is left to force.
    """
    from minidock.engine.lifecycle import connect

    connect.disconnect(Store(), *arguments)


@command("NETWORK [NETWORK...]", at_least=1, complete=networks)
@switch("-f", "--force", help="Ignore networks that do not exist")
def rm(arguments: tuple[str, ...], *, force: bool) -> int:
    """Remove networks"""
    from minidock.engine.container.lookup import list_containers
    from minidock.engine.network import user_defined

    store = Store()
    list_containers(store)  # this disconnects containers whose monitor died

    def remove_one(name: str) -> str | None:
        try:
            user_defined.remove(store, name)
        except NotFound:
            if not force:
                raise
            return None
        return name

    return for_each(arguments, remove_one)


@command()
@values("--filter", type=FILTER, help="Remove only objects that match a filter, such as until=24h")
@switch("-f", "--force", help="Do not ask for confirmation")
def prune(arguments: tuple[str, ...], *, filter: tuple[tuple[str, str], ...], force: bool) -> int:
    """Remove networks without containers"""
    from minidock.cli.frame.confirm import confirm

    read_filters(filter, _PRUNE_FILTERS)
    warning = "This will remove all custom networks not used by at least one container."
    if not force and not confirm(warning):
        return 0
    deleted = prune_networks(Store(), filter)
    if deleted:
        print("Deleted Networks:\n" + "\n".join(deleted) + "\n")
    return 0


def prune_networks(store: Store, filters: tuple[tuple[str, str], ...]) -> list[str]:
    """Remove networks without containers; returns their names."""
    from minidock.engine.container.lookup import list_containers
    from minidock.engine.network import user_defined
    from minidock.engine.store.event_log import emit_pruned

    list_containers(store)
    deleted = []
    for found in apply_filters(_custom(store), filters, _PRUNE_FILTERS):
        try:
            user_defined.remove(store, found["Name"])
        except (Conflict, NotFound):
            continue  # in use by now, or removed by another process
        deleted.append(found["Name"])
    emit_pruned(store, "network", 0)
    return deleted


def _custom(store: Store) -> list[NetworkInspect]:
    from minidock.engine.network.lookup import list_networks

    return [network for network in list_networks(store) if not is_builtin(network)]


_PRUNE_FILTERS: dict[str, Reader[NetworkInspect]] = {
    **label_filters(lambda n: n["Labels"]),
    "until": lambda wanted: compared(lt, lambda n: moment_of(n["Created"]), until(wanted)),
}
